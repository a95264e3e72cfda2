"""Names of the selections.

``slide``: evenly spaced tokens, eq. (3). ``mean-pool``: the means of s groups of neighbours.
``norm``: the tokens of largest Euclidean norm. ``attention``: the tokens that the encoder's summary
tokens attend to most. ``learned``: the tokens with the highest trained scores.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

_SLIDE = Field(exclude_if=lambda selection: selection == "slide")
"""The slide is left out of dumps: what was made before there was a choice keeps its name."""

FrozenSelection = Annotated[Literal["slide", "mean-pool", "norm", "attention"], _SLIDE]
"""Selections without trained weights, which the feature store keeps."""

Selection = Annotated[Literal["slide", "mean-pool", "norm", "attention", "learned"], _SLIDE]
