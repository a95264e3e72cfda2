"""Turns scenes, questions and reviews into packed sequences for MiniCLEVR's language model.

A context is a caption as words, a grid of soft clauses (one for each cell, as a tokenizer of images
has them) or nothing. It comes before the instruction or after it: both orders are trained.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from ...answers import IGNORED
from ...datasets.miniclevr.language import NOUNS, Question
from ...datasets.miniclevr.language import WORDS as QUESTION_WORDS
from ...datasets.miniclevr.reviews import SENTIMENTS
from ...datasets.miniclevr.reviews import WORDS as REVIEW_WORDS
from ...datasets.miniclevr.scene import (
    ATTRIBUTES,
    CAPTION_WORDS,
    CELLS,
    MAX_OBJECTS,
    RELATIONS,
    ROWS,
    Scene,
    caption,
)
from ...tasks.templates import instruct
from ..language_model import EOS, word_tokenizer
from ..packing import Packed, collate

Context = Literal["words", "soft", "none"]

DENOTED = {
    "matches": MAX_OBJECTS + 1,
    **{attribute: len(values) for attribute, values in ATTRIBUTES.items()},
    "column": CELLS,
    "row": CELLS,
}
"""Facts about what a noun denotes, with their numbers of classes.

They are how many solids match and, if it is a single one, all about it.
"""

MAX_MATCHED = 2
"""Maximum number of descriptions in one question."""
MEANINGS = {
    "denoted": len(DENOTED),
    "placed": 2 * CELLS,
    "same": len(ATTRIBUTES),
    "related": len(RELATIONS),
    "matched": MAX_MATCHED,
}
"""What is known of a token's meaning (:class:`Denoting`), with the number of facts."""
_NOUNS = {noun + ending for noun in NOUNS for ending in ("", "s")}
_FULL_GRID = 0.7
"""Share of the soft contexts that have all cells; the others lack some empty ones."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word of MiniCLEVR and of the short templates."""
    templates = f"{_describe()} {_classify('')}".split()
    return word_tokenizer({*QUESTION_WORDS, *CAPTION_WORDS, *REVIEW_WORDS, *templates})


def _describe() -> str:
    return instruct("caption", "", "short")


def _classify(review: str) -> str:
    return instruct("classification", review, "short")


@dataclass
class Denoting(Packed):
    """A packed sequence that also says what some of its tokens mean.

    Each meaning maps the index of a token to facts:

    - ``denoted``: what a noun denotes, or the solid that a clause of a caption has told
      (:data:`DENOTED`).
    - ``placed``: how many of the solids that a noun denotes are in each column, then in each row.
    - ``same``: at the second noun of a question, whether the solids of its two nouns share each
      attribute.
    - ``related``: at the second noun of a question, how many solids of the first noun stand in each
      relation to that of the second.
    - ``matched``: at a solid that comes after its instruction, whether each of the instruction's
      descriptions matches it.
    """

    meaning: dict[str, dict[int, tuple[int, ...]]] = field(
        default_factory=lambda: {name: {} for name in MEANINGS}
    )


class Packer:
    """Turns text into packed sequences of token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, prose_weight: float) -> None:
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._prose = prose_weight
        self.eos = self._ids[EOS]

    def encode(self, text: str) -> list[int]:
        return [self._ids[word] for word in text.split()]

    def image_first(
        self,
        scene: Scene,
        questions: list[Question],
        context: Context,
        restate: float,
        rng: np.random.Generator,
    ) -> Denoting:
        """A context, then questions about it, then its description unless ``restate`` is 0.

        ``restate`` is the loss weight of the description.
        """
        packed = Denoting()
        self._append_context(packed, scene, context, 0, 0, rng)
        start = len(packed.words)
        for i, question in enumerate(questions):
            own = len(packed.words)
            self._append_turn(packed, question.text, question.answer, 1 + i, start)
            if context != "none":
                _note_meaning(packed, own, scene, question)
        if restate and context != "none":
            segment = 1 + len(questions)
            self._append_turn(packed, _describe(), caption(scene), segment, start, restate)
        return packed

    def instruction_first(
        self, asked: list[tuple[Scene, Question]], context: Context, rng: np.random.Generator
    ) -> Denoting:
        """Questions, each followed by a context of its own, whose reading can depend on it."""
        packed = Denoting()
        for i, (scene, question) in enumerate(asked):
            text = self.encode(question.text)
            packed.append(text, [self._prose] * len(text), i + 1, 0)
            tokens = self._append_context(packed, scene, context, i + 1, len(text), rng)
            for solid, token in enumerate(tokens):
                matched = [int(solid in meant) for meant in question.meant]
                unasked = [IGNORED] * (MAX_MATCHED - len(matched))
                packed.meaning["matched"][token] = (*matched, *unasked)
            self._append_answer(packed, question.answer, i + 1, packed.position[-1] + 1)
        return packed

    def reviews(self, reviews: list[tuple[str, int]]) -> Denoting:
        """Reviews to classify, side by side."""
        packed = Denoting()
        for i, (text, label) in enumerate(reviews):
            self._append_turn(packed, _classify(text), SENTIMENTS[label], i + 1, 0)
        return packed

    def _append_context(
        self,
        packed: Denoting,
        scene: Scene,
        context: Context,
        segment: int,
        start: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """Adds a context; returns the index of each solid's token, which tells all about it."""
        before = len(packed.words)
        if context == "soft":
            grid = self._grid(scene, rng)
            packed.append_soft(grid, segment, start)
            return [before + i for i, words in enumerate(grid) if words]
        if context == "none":
            return []
        told = self.encode(caption(scene))
        packed.append(told, [self._prose] * len(told), segment, start)
        rows = {self._ids[row] for row in ROWS}  # a clause's last word
        tokens = [before + i for i, word in enumerate(told) if word in rows]
        for solid, token in enumerate(tokens):
            packed.meaning["denoted"][token] = (IGNORED, *_denotation(scene, (solid,))[1:])
        return tokens

    def _grid(self, scene: Scene, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """What each cell shows, row by row: all words of its solid, or none."""
        cells: dict[int, tuple[int, ...]] = {
            solid.row * CELLS + solid.column: tuple(self._ids[word] for word in solid.words)
            for solid in scene.solids
        }
        kept = 1.0 if rng.random() < _FULL_GRID else rng.random()
        draws = rng.random(CELLS * CELLS)
        return [
            cells.get(cell, ())
            for cell in range(CELLS * CELLS)
            if cell in cells or draws[cell] < kept
        ]

    def _append_turn(
        self,
        packed: Packed,
        instruction: str,
        response: str,
        segment: int,
        start: int,
        weight: float = 1.0,
    ) -> None:
        asked = self.encode(instruction)
        answer = [*self.encode(response), self.eos]
        weights = [self._prose] * len(asked) + [weight] * len(answer)
        packed.append(asked + answer, weights, segment, start)

    def _append_answer(self, packed: Packed, response: str, segment: int, start: int) -> None:
        """Adds an answer; the last token so far predicts its first word."""
        answer = [*self.encode(response), self.eos]
        packed.target[-1], packed.weight[-1] = answer[0], 1.0
        packed.append(answer, [1.0] * len(answer), segment, start)


def _denotation(scene: Scene, meant: tuple[int, ...]) -> tuple[int, ...]:
    if len(meant) != 1:
        return (len(meant), *[IGNORED] * (len(DENOTED) - 1))
    solid = scene.solids[meant[0]]
    return (1, *solid.values, solid.column, solid.row)


def _note_meaning(packed: Denoting, start: int, scene: Scene, question: Question) -> None:
    """Notes what the nouns of a question mean; the question's first word has index ``start``."""
    nouns = [start + j for j, word in enumerate(question.text.split()) if word in _NOUNS]
    for noun, meant in zip(nouns, question.meant, strict=True):
        packed.meaning["denoted"][noun] = _denotation(scene, meant)
        places = [at for i in meant for at in (scene.solids[i].column, CELLS + scene.solids[i].row)]
        packed.meaning["placed"][noun] = tuple(places.count(at) for at in range(2 * CELLS))
    if len(nouns) == 2 and len(question.meant[1]) == 1:
        first, (second,) = question.meant
        there = [scene.related(relation, second) for relation in RELATIONS]
        packed.meaning["related"][nouns[1]] = tuple(len({*first} & {*solids}) for solids in there)
        if len(first) == 1:
            values = zip(*(scene.solids[i].values for i in (first[0], second)), strict=True)
            packed.meaning["same"][nouns[1]] = tuple(int(one == other) for one, other in values)


def batch_of(packed: list[Denoting]) -> dict[str, Tensor]:
    """Padded sequences with what their tokens mean: :data:`MEANINGS` as ``[B, S, facts]``.

    Unknown facts are ``IGNORED``.
    """
    batch = collate(list(packed))
    for name, facts in MEANINGS.items():
        batch[name] = torch.full((*batch["segment"].shape, facts), IGNORED)
        for b, sequence in enumerate(packed):
            told = sequence.meaning[name]
            if told:
                batch[name][b, list(told)] = torch.tensor(list(told.values()))
    return batch
