"""Token lengths that a study sets, and their words."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

TokenLengths = dict[str, Annotated[int, Field(ge=1)]]
"""Token length of each device whose length a study sets."""


def with_lengths(method: str, tokens: TokenLengths) -> str:
    """A method's name, with token lengths if any: ``aligned at 4 audio, 16 vision tokens``."""
    lengths = ", ".join(f"{count} {device}" for device, count in tokens.items())
    return f"{method} at {lengths} tokens" if lengths else method
