"""Weights as the tables count them: two operations for each token that is multiplied by one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


def matrix_weights(parameters: Iterable[nn.Parameter]) -> int:
    """Number of weights in matrices and convolutions.

    Biases and the scales of norms are left out: no sum over features runs over them.
    """
    return sum(p.numel() for p in parameters if p.dim() > 1)
