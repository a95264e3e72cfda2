"""Tokens to complex symbols and back, and the error of tokens that arrive.

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token (d_T), ``N = S D / 2`` symbols.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pack(tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. (5): reshapes tokens ``[B, S, D]`` into complex symbols ``[B, S D / 2]``.

    Neighbouring features become the real and imaginary part of one symbol. ``valid`` ``[B, S]``
    marks valid tokens; returns the symbols and a mask of the valid ones.

    Raises:
        ValueError: if D is odd.
    """
    batch, count, width = tokens.shape
    if width % 2:
        raise ValueError(f"tokens of {width} features do not pair into complex symbols; take even")
    pairs = tokens.float().reshape(batch, count * width // 2, 2)
    return torch.view_as_complex(pairs.contiguous()), valid.repeat_interleave(width // 2, dim=1)


def unpack(symbols: Tensor, width: int) -> Tensor:
    """Eq. (7): the exact inverse of :func:`pack`, ``[B, N]`` to ``[B, 2 N / width, width]``.

    Raises:
        ValueError: if the symbols do not fill whole tokens.
    """
    batch, count = symbols.shape
    if width % 2 or (2 * count) % width:
        raise ValueError(f"{count} symbols do not fill whole tokens of {width} features")
    return torch.view_as_real(symbols).reshape(batch, 2 * count // width, width)


def by_token(by_symbol: Tensor, symbols_per_token: int) -> Tensor:
    """Values by token ``[B, S]`` of values by symbol ``[B, N]``: those of each first symbol."""
    return by_symbol[:, ::symbols_per_token]


def reconstruction_loss(received: Tensor, sent: Tensor, valid: Tensor) -> Tensor:
    """Eq. (9) of paper 1: mean squared error of tokens ``[B, S, D]`` over the valid, ``[B, S]``."""
    error = (received - sent).square().mean(-1)
    return (error * valid).sum() / valid.sum().clamp(min=1)
