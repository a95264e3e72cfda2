"""Types of keys that the systems of several papers have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from ..checkpoints import checkpoint
from ..config import listed


def absolute(name: str) -> str:
    """The name of a checkpoint; of a folder the absolute path."""
    return checkpoint(name, Path.cwd()) if name.startswith((".", "~")) else name


Checkpoint = Annotated[str, AfterValidator(absolute)]
"""A Hugging Face name, ``pocket``, or the absolute path of a folder."""

MicroBatchSize = Annotated[
    int | None, Field(ge=1, exclude_if=lambda value: value is None)  # keys of before stay
]
"""Maximum number of samples that a step computes at once; None takes its batch whole."""

LearningRates = Annotated[tuple[Annotated[float, Field(gt=0)], ...], BeforeValidator(listed)]
"""Candidates, all positive; a single number is a list of one."""
