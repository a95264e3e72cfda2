"""Symbols on the resource grid and off it again.

Shapes: ``B`` samples, ``M`` antennas, ``T`` OFDM symbols with data, ``F`` subcarriers, ``N``
symbols of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


def on_grid(values: Tensor, shape: Sequence[int]) -> Tensor:
    """``[B, N]`` to ``[B, T, F]``, filled frequency first; the rest is zero."""
    rows, subcarriers = shape
    missing = rows * subcarriers - values.shape[1]
    padded = nn.functional.pad(values, (0, missing)) if missing else values
    return padded.reshape(-1, rows, subcarriers)


def off_grid(values: Tensor, count: int) -> Tensor:
    """``[B, T, F]`` to ``[B, N]``, the first ``count`` of each sample."""
    return values.flatten(1)[:, :count]


def at_steps(response: Tensor, steps: Sequence[int]) -> Tensor:
    """A response ``[B, M, T, F]`` at some time steps; one with a single step holds at all."""
    if response.shape[2] == 1:
        return response.expand(-1, -1, len(steps), -1)
    return response[:, :, list(steps)]
