"""Chat templates of language models, which render the same prompt on every day."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

Turn = dict[str, str]
"""``role`` (``user`` or ``assistant``) and ``content`` of a turn."""

_SAME_DAY = "{% macro strftime_now(form) %}26 Jul 2024{% endmacro %}"
"""Replaces what tells a template the date, by the date that Llama-3's templates fall back on."""


def render_chat(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], reply: bool = False
) -> str:
    """The text of a conversation by the tokenizer's chat template.

    Some templates tell the date. Here it is always the same, so that what is trained on one day
    reads the same prompts on the next.

    Args:
        tokenizer: Tokenizer with a chat template.
        turns: The conversation.
        reply: Whether an assistant's reply is to follow.
    """
    text: str = tokenizer.apply_chat_template(
        list(turns),
        chat_template=_SAME_DAY + tokenizer.get_chat_template(),
        tokenize=False,
        add_generation_prompt=reply,
    )
    return text
