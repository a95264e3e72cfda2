"""Counts weights as the tables do: each costs two operations for every token it multiplies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def matrix_weights(parameters: Iterable[nn.Parameter]) -> int:
    """Number of weights in matrices and convolutions.

    Biases and the scales of norms are left out, because they take part in no sum over features.
    """
    return sum(p.numel() for p in parameters if p.dim() > 1)
