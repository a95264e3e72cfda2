"""Prompts, answers and conversations as token ids.

Shapes: ``B`` batch, ``T`` tokens of a part of a text, ``A`` tokens of an answer with its end. Rows
of different lengths are filled up with ``IGNORED`` behind.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...answers import IGNORED, padded
from ...checkpoints.loading import load_tokenizer
from .config import Order


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

    A prompt begins as the tokenizer begins a text (Gemma's has a token for that). Only with the
    instruction first can the states of image tokens depend on it.

    Args:
        language: Name of the language model.
        order: Order of image and instruction.
        longest: Maximum number of tokens of an instruction; longer ones are cut.
    """

    def __init__(self, language: str, order: Order, longest: int) -> None:
        self._tokenizer = load_tokenizer(language)
        self._start: list[int] = self._tokenizer("")["input_ids"]
        self._image_first = order == "image-first"
        self._longest = longest

    @property
    def end(self) -> int:
        """Token that ends an answer."""
        return int(self._tokenizer.eos_token_id)

    def ids(self, text: str, longest: int | None = None) -> list[int]:
        """Token ids of a text, without special tokens."""
        found: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return found[:longest]

    def prompts(
        self, instructions: Sequence[str], captions: Sequence[str] | None = None, longest: int = 0
    ) -> Script:
        """Instructions around images, or around captions of at most ``longest`` tokens."""
        shown = [""] * len(instructions) if captions is None else captions
        rows = []
        for instruction, caption in zip(instructions, shown, strict=True):
            told, seen = self.ids(instruction, self._longest), self.ids(caption, longest)
            rows.append((self._start, seen + told) if self._image_first else (told, seen))
        before = [own for own, _ in rows]
        if not self._image_first:
            before = [self._start + own for own in before]
        after = padded(own for _, own in rows)
        return Script(padded(before), after, torch.full_like(after, IGNORED))

    def conversations(self, columns: Sequence[str], longest: int) -> Script:
        """Conversations of instructions and responses about one image, see ``InstructionTask``.

        With the instruction first, the image follows the first of them.

        Args:
            columns: JSON lists of ``[instruction, response]``.
            longest: Maximum number of tokens; longer conversations are cut.
        """
        before, after, labels = [], [], []
        for column in columns:
            first = list(self._start)
            ids: list[int] = []
            marks: list[int] = []
            for number, (instruction, response) in enumerate(json.loads(column)):
                told = self.ids(instruction, self._longest)
                said = [*self.ids(response), self.end]
                if number == 0 and not self._image_first:
                    first, told = first + told, []
                ids += told + said
                marks += [IGNORED] * len(told) + said
            before.append(first)
            after.append(ids[:longest])
            labels.append(marks[:longest])
        return Script(padded(before), padded(after), padded(labels))

    def answers(self, answers: Sequence[str], longest: int | None = None) -> Tensor:
        """Ids ``[B, A]`` of answers, of at most ``longest`` tokens, and the ends of whole ones."""
        rows = ([*self.ids(answer), self.end] for answer in answers)
        return padded(row if longest is None else row[: longest + 1] for row in rows)

    def answer_inputs(self, answers: Sequence[str], longest: int) -> Tensor:
        """Ids ``[B, A - 1]`` of the tokens that teacher forcing feeds: another one follows them."""
        return padded(self.ids(answer, longest) for answer in answers)

    def decode(self, generated: Tensor) -> list[str]:
        """Texts of generated token ids ``[B, A]``."""
        texts: list[str] = self._tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [text.strip() for text in texts]
