"""Methods a study can compare, and the floors that every study carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actors import Stream

Alignment = Literal["none", "reconstruction", "contrastive"]


@dataclass(frozen=True)
class Method:
    """How a network is trained and what it sends.

    Attributes:
        streams: what the devices send for a question, in the order of eq. (12).
        alignment: stage 1 with both losses, with eq. (9) alone, or none.
        floor: text arrives intact, whatever the air; one cell a seed.
        summary: for ``--help`` and reports.
    """

    streams: tuple[Stream, ...]
    alignment: Alignment
    floor: bool
    summary: str


METHODS: dict[str, Method] = {
    "aligned": Method(
        ("vision", "audio", "question"), "contrastive", False, "paper 1: both stages"
    ),
    "reconstruction": Method(
        ("vision", "audio", "question"),
        "reconstruction",
        False,
        "alignment without the contrastive loss",
    ),
    "unaligned": Method(
        ("vision", "audio", "question"), "none", False, "task-oriented fine-tuning alone"
    ),
    "blind": Method(("question",), "none", True, "the question alone, intact"),
    "text-oracle": Method(
        ("caption", "question"), "none", True, "caption and question as words, intact"
    ),
}

FLOORS = tuple(name for name, method in METHODS.items() if method.floor)
