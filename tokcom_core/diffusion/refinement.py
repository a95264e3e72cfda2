"""Instructional Diffusion Refinement: a language model rewrites its own prompt before it is drawn.

Section III-D of TaiChi's paper. First the model answers the user's wish with a preliminary text;
then a preset template asks it to rewrite that text by a list of principles. The diffusion model
stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peft import PeftConfig
from torch import Tensor

from ..answers import IGNORED, padded
from ..chat import render_chat
from ..checkpoints import POCKET_DRAWING, POCKET_IMAGES, resolve
from ..checkpoints.configs import from_pretrained, stop_tokens
from ..foundation import FoundationModel, LoraShape, concatenate

_OTHER_LORA = ("use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "modules_to_save")
"""Settings of PEFT that change what an adapter of the same weights computes."""


@dataclass(frozen=True)
class RefinementTemplate:
    """The two instructions of the refinement.

    ``preliminary`` asks for the first text and has a field ``{wish}``. ``optimisation`` asks to
    rewrite that text and has a field ``{draft}``. It also has a field ``{wish}`` if the model is to
    read the wish again.
    """

    preliminary: str
    optimisation: str
    max_new_tokens: int = 77
    """Maximum number of tokens of each answer; CLIP's text encoder reads no more than 77."""

    def first(self, wish: str) -> str:
        """The instruction of the first stage."""
        return self.preliminary.replace("{wish}", wish)

    def second(self, wish: str, draft: str) -> str:
        """The instruction of the second stage."""
        return self.optimisation.replace("{draft}", draft).replace("{wish}", wish)


IDR_TEMPLATE = RefinementTemplate(
    preliminary=(
        "The user asks for an image. Say in one or two sentences what the image shows.\n"
        "User: {wish}\n"
        "Answer with the description alone."
    ),
    optimisation=(
        "Instruction: Rewrite the draft below as a prompt for a text-to-image diffusion model. "
        "Follow these principles:\n"
        "1. State the core objective first: what the image shows.\n"
        "2. Break a complex scene down into simple descriptions, one for each object, separated by "
        "commas.\n"
        "3. Be specific, not abstract: give the number, color, size, material, shape and position "
        "of each object. Work out what is only implied, and replace comparisons and negations by "
        "what they mean.\n"
        "4. Enrich key details that the draft leaves open, such as places in the image.\n"
        "5. Keep the intent and the tone of the user's request.\n"
        "User's request: {wish}\n"
        "Draft: {draft}\n"
        "Answer with the prompt alone, in at most 60 words."
    ),
)
"""For instruction-tuned models of any size: the principles that the paper names, spelt out."""

POCKET_TEMPLATE = RefinementTemplate(
    preliminary="{wish} what is to be in the picture ?",
    optimisation="{draft} describe the picture",
)
"""In words of the pocket language model, whose adapter has learned what they ask for."""


@dataclass(frozen=True)
class Refined:
    """A wish, the model's preliminary text, and the prompt to draw."""

    wish: str
    draft: str
    prompt: str


class PromptRefiner:
    """A causal language model that turns wishes into prompts.

    Args:
        language: Hugging Face name, local folder, or ``pocket-images``.
        adapter: Folder of a LoRA adapter in PEFT's format. By default, it is the shipped one for
            the pocket model, and there is none for any other model.
        template: The instructions. By default, they are :data:`POCKET_TEMPLATE` for the pocket
            model, and :data:`IDR_TEMPLATE` for any other.
        device: Torch device or ``auto``.

    Raises:
        ValueError: if a checkpoint is missing or cannot be read.
    """

    def __init__(
        self,
        language: str = POCKET_IMAGES,
        adapter: Path | None = None,
        template: RefinementTemplate | None = None,
        device: str = "auto",
    ) -> None:
        pocket = language == POCKET_IMAGES
        self.language = language
        self.template = template or (POCKET_TEMPLATE if pocket else IDR_TEMPLATE)
        if adapter is None and pocket:
            adapter = Path(resolve(POCKET_DRAWING, "refinement"))
        shape = None if adapter is None else _read_shape(adapter)
        self._model = FoundationModel(language, shape, device).eval()
        self._ends = stop_tokens(language)
        if adapter is not None:
            self._model.load_adapter(adapter)

    def refine(self, wishes: Sequence[str]) -> list[Refined]:
        """Runs both stages with greedy decoding.

        Raises:
            ValueError: if a wish is empty or has words that the language model does not know.
        """
        self._check(wishes)
        drafts = self._say([self.template.first(wish) for wish in wishes])
        requests = [self.template.second(*pair) for pair in zip(wishes, drafts, strict=True)]
        prompts = self._say(requests)
        return [Refined(*texts) for texts in zip(wishes, drafts, prompts, strict=True)]

    def _check(self, wishes: Sequence[str]) -> None:
        if not all(wish.strip() for wish in wishes):
            raise ValueError("an empty wish cannot be refined; say what to draw")
        tokenizer = self._model.tokenizer
        words = list(dict.fromkeys(" ".join(wishes).split()))
        rows = tokenizer(words, add_special_tokens=False)["input_ids"]
        unknown = [
            word for word, ids in zip(words, rows, strict=True) if tokenizer.unk_token_id in ids
        ]
        if unknown:
            raise ValueError(
                f"the language model {self.language!r} does not know "
                f"{', '.join(map(repr, unknown))}; take words of docs/diffusion.md, "
                f"or another language model"
            )

    def _say(self, instructions: Sequence[str]) -> list[str]:
        prompt, valid = embed_instructions(self._model, instructions)
        limit = self.template.max_new_tokens
        return self._model.decode(self._model.generate(prompt, valid, limit, self._ends))


def embed_instructions(
    model: FoundationModel, instructions: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Prompts ``[B, S, D]`` and valid ``[B, S]`` of instructions, padded on the left.

    If the tokenizer has a chat template, each instruction becomes a user's turn.
    """
    tokenizer = model.tokenizer
    if tokenizer.chat_template:
        instructions = [
            render_chat(tokenizer, [{"role": "user", "content": text}], reply=True)
            for text in instructions
        ]
    rows = [
        tokenizer(text, add_special_tokens=not tokenizer.chat_template)["input_ids"]
        for text in instructions
    ]
    ids = padded(rows).to(model.device)
    return concatenate([(model.embedding(ids.clamp(min=0)), ids != IGNORED)])


def _read_shape(adapter: Path) -> LoraShape:
    config = from_pretrained(PeftConfig.from_pretrained, str(adapter.absolute()), "refinement")
    unknown = [key for key in _OTHER_LORA if getattr(config, key, None)]
    if isinstance(config.target_modules, str):
        unknown.append("target_modules by a pattern")
    if unknown:
        raise ValueError(
            f"adapter {adapter} sets {', '.join(unknown)}; take a LoRA adapter with one rank, one "
            "alpha and target_modules by name"
        )
    modules = tuple(sorted(config.target_modules))
    return LoraShape(config.r, config.lora_alpha, config.lora_dropout, modules)
