"""Methods a study can compare, and the floors that every study carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from actors import Stream

Alignment = Literal["none", "reconstruction", "contrastive"]
Transport = Literal["analog", "digital", "file"]


@dataclass(frozen=True)
class Method:
    """How a network is trained and what it sends.

    Attributes:
        streams: what the devices send for a question, in the order of eq. (12).
        alignment: stage 1 with both losses, with eq. (9) alone, or none.
        summary: for ``--help`` and reports.
        floor: text arrives intact, whatever the air; one cell a seed.
        transport: token symbols on the air itself (``analog``), tokens as coded packets
            (``digital``), or the coded media files, to be encoded at the base station (``file``).
    """

    streams: tuple[Stream, ...]
    alignment: Alignment
    summary: str
    floor: bool = False
    transport: Transport = "analog"


METHODS: dict[str, Method] = {
    "aligned": Method(("vision", "audio", "question"), "contrastive", "paper 1: both stages"),
    "reconstruction": Method(
        ("vision", "audio", "question"),
        "reconstruction",
        "alignment without the contrastive loss",
    ),
    "unaligned": Method(("vision", "audio", "question"), "none", "task-oriented fine-tuning alone"),
    "digital": Method(
        ("vision", "audio", "question"),
        "contrastive",
        "aligned, the tokens sent as quantised, LDPC-coded packets",
        transport="digital",
    ),
    "raw-upload": Method(
        ("vision", "audio", "question"),
        "contrastive",
        "aligned, the coded media files uploaded and encoded at the base station",
        transport="file",
    ),
    "blind": Method(("question",), "none", "the question alone, intact", floor=True),
    "text-oracle": Method(
        ("caption", "question"), "none", "caption and question as words, intact", floor=True
    ),
}


def uploads_files(method: str) -> bool:
    """Whether the method sends coded media files."""
    return METHODS[method].transport == "file"


FLOORS = tuple(name for name, method in METHODS.items() if method.floor)
