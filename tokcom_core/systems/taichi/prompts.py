"""Prompts, answers and conversations as token ids.

Shapes: ``B`` batch, ``T`` tokens of a part of a text, ``A`` tokens of an answer with its end.
Shorter rows of a batch are filled up with ``IGNORED`` at their end.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from jinja2 import TemplateError
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from ...answers import IGNORED, padded
from ...chat import render_chat
from ...checkpoints.loading import load_tokenizer, text_ids
from .config import Order


@dataclass(frozen=True)
class Markup:
    """What stands around images, instructions and responses, as token ids.

    For a model with a chat template, as instruct models have one, it is the template's markup of
    turns. For any other model, each part is a line of its own.

    Attributes:
        opening: What a conversation begins with, up to the first instruction or image.
        gap: What separates an image, or a caption in its place, from its instruction.
        reply: What stands between an instruction and its response.
        end: Token that ends a response.
        following: What stands between ``end`` and the next instruction.
    """

    opening: list[int]
    gap: list[int]
    reply: list[int]
    end: int
    following: list[int]

    @property
    def count(self) -> int:
        """Number of tokens of a prompt besides image and instruction."""
        return len(self.opening) + len(self.gap) + len(self.reply)

    @property
    def count_turn(self) -> int:
        """Number of tokens of a conversation's turn besides instruction and response."""
        return max(len(self.gap), len(self.following)) + len(self.reply) + 1


def read_markup(tokenizer: PreTrainedTokenizerBase) -> Markup:
    """The markup of a language model by its tokenizer.

    Raises:
        ValueError: for a chat template that has no place for a user's and an assistant's turns.
    """
    end, line = int(tokenizer.eos_token_id), text_ids(tokenizer, "\n")
    if not tokenizer.chat_template:
        return Markup(tokenizer("")["input_ids"], line, line, end, line)
    opening, reply, following = (text_ids(tokenizer, text) for text in _read_chat(tokenizer))
    blank = [not tokenizer.decode([token]).strip() for token in following]
    added = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    ends = [token in {*added, *tokenizer.all_special_ids} for token in following]
    if any(ends) and all(blank[: ends.index(True)]):  # Llama-2's has a space before its end
        place = ends.index(True)
        end, following = following[place], following[place + 1 :]
    return Markup(opening, line, reply, end, following)


def _read_chat(tokenizer: PreTrainedTokenizerBase) -> tuple[str, str, str]:
    """Texts of a chat template: before an instruction, before a response, and after a response."""
    asked, said = "\ue000", "\ue001"  # from Unicode's private use area
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
    try:
        first = render_chat(tokenizer, turns[:1], reply=True)
        opening, reply = first.split(asked)
        both = render_chat(tokenizer, [*turns, *turns])
        _, behind, _ = both.split(said)
        following, _ = behind.split(asked)
    except (ValueError, TemplateError):
        raise ValueError(
            f"the chat template of {tokenizer.name_or_path!r} does not show every text of user and "
            "assistant once; take another language model, or remove this one's chat_template"
        ) from None
    return opening, reply, following


@cache
def count_markup(language: str) -> int:
    """Number of tokens of a language model's prompt besides image and instruction."""
    return read_markup(load_tokenizer(language)).count


@dataclass(frozen=True)
class Script:
    """Texts around an image, as token ids.

    Attributes:
        before, after: Ids of what stands before and after the image, ``[B, T]`` each.
        labels: The ids of ``after`` that are responses, ``[B, T]``; ``IGNORED`` elsewhere.
    """

    before: Tensor
    after: Tensor
    labels: Tensor


class Words:
    """The tokenizer of a language model, and the order of image and instruction.

    The states of image tokens can depend on the instruction only if it comes first.

    Args:
        language: Name of the language model.
        order: Order of image and instruction.
        longest: Maximum number of tokens of an instruction; longer ones are cut.
    """

    def __init__(self, language: str, order: Order, longest: int) -> None:
        self._tokenizer = load_tokenizer(language)
        self._markup = read_markup(self._tokenizer)
        self._image_first = order == "image-first"
        self._longest = longest

    @property
    def end(self) -> int:
        """Token that ends an answer."""
        return self._markup.end

    def ids(self, text: str, longest: int | None = None) -> list[int]:
        """Token ids of a text, without special tokens."""
        return text_ids(self._tokenizer, text)[:longest]

    def prompts(
        self, instructions: Sequence[str], captions: Sequence[str] | None = None, longest: int = 0
    ) -> Script:
        """Instructions around images, or around captions of at most ``longest`` tokens."""
        shown = [""] * len(instructions) if captions is None else captions
        before, after = [], []
        for instruction, caption in zip(instructions, shown, strict=True):
            first, rest = self._around(self.ids(instruction, self._longest))
            before.append(first)
            after.append(self.ids(caption, longest) + rest + self._markup.reply)
        return Script(padded(before), padded(after), torch.full_like(padded(after), IGNORED))

    def conversations(self, columns: Sequence[str], longest: int) -> Script:
        """Conversations of instructions and responses about one image, see ``InstructionTask``.

        If instructions come first, the image follows the first instruction.

        Args:
            columns: JSON lists of ``[instruction, response]``.
            longest: Maximum number of tokens; longer conversations are cut.
        """
        before, after, labels = [], [], []
        for column in columns:
            first: list[int] = []
            ids: list[int] = []
            marks: list[int] = []
            for number, (instruction, response) in enumerate(json.loads(column)):
                told = self.ids(instruction, self._longest)
                if number == 0:
                    first, told = self._around(told)
                else:
                    told = self._markup.following + told
                told = told + self._markup.reply
                said = [*self.ids(response), self.end]
                ids += told + said
                marks += [IGNORED] * len(told) + said
            before.append(first)
            after.append(ids[:longest])
            labels.append(marks[:longest])
        return Script(padded(before), padded(after), padded(labels))

    def _around(self, told: list[int]) -> tuple[list[int], list[int]]:
        """Ids before and after the image that an instruction is about."""
        opening, gap = self._markup.opening, self._markup.gap
        return (opening, gap + told) if self._image_first else (opening + told + gap, [])

    def answers(self, answers: Sequence[str], longest: int | None = None) -> Tensor:
        """Ids ``[B, A]`` of answers, each with its end.

        With ``longest``, rows are cut to ``longest + 1`` ids: answers of more than ``longest``
        tokens have no end.
        """
        rows = ([*self.ids(answer), self.end] for answer in answers)
        return padded(row if longest is None else row[: longest + 1] for row in rows)

    def answer_inputs(self, answers: Sequence[str], longest: int) -> Tensor:
        """Ids ``[B, A - 1]`` that teacher forcing feeds: :meth:`answers`, each without its last."""
        return padded(self.ids(answer, longest) for answer in answers)

    def decode(self, generated: Tensor) -> list[str]:
        """Texts of generated token ids ``[B, A]``."""
        texts: list[str] = self._tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [text.strip() for text in texts]
