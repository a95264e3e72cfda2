"""The quantiser of a digital link: turns a token's values into integers, and these into bits.

Shapes: ``B`` samples, ``K`` packets of a sample (one per token), ``N`` symbols of a frame.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..frame import Frame

QUANTISER_SCALE_BITS = 16
"""Bits of a token's quantiser scale (bfloat16), sent with its values."""


def quantise(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Quantises uniformly and symmetrically, with a scale for each row.

    The scale is the largest magnitude of the row, rounded up to a bfloat16.

    Args:
        values: float32 ``[..., V]``.
        bits: Number of bits of each value.

    Returns:
        integers from 0 to 2^bits - 2, of the shape of ``values``, and the step ``[..., 1]`` between
        them.
    """
    half = 2 ** (bits - 1) - 1
    step = _next_bfloat16(values.abs().amax(-1, keepdim=True)).clamp(min=1e-12) / half
    level = torch.round(values / step).long() + half
    return level, step


def dequantise(level: Tensor, step: Tensor, bits: int) -> Tensor:
    """Undoes :func:`quantise`, except for the rounding."""
    half = 2 ** (bits - 1) - 1
    values: Tensor = (level - half) * step
    return values


def token_packet_bits(symbols_per_token: int, bits: int) -> int:
    """Payload of the packet of one token: its quantised values and their scale."""
    return 2 * symbols_per_token * bits + QUANTISER_SCALE_BITS


def token_bits(frame: Frame, bits: int) -> Tensor:
    """Bits of the tokens' packets ``[B, K, packet bits]``: values, then scale.

    The most significant bit of each comes first.
    """
    level, step = quantise(_values(frame), bits)
    shifts = torch.arange(bits - 1, -1, -1, device=level.device)
    values = ((level[..., None] >> shifts) & 1).flatten(2)
    scale = (step * (2 ** (bits - 1) - 1)).squeeze(-1).bfloat16().view(torch.int16).long()
    shifts = torch.arange(QUANTISER_SCALE_BITS - 1, -1, -1, device=level.device)
    return torch.cat([values, (scale[..., None] >> shifts) & 1], dim=-1)


def quantised_symbols(frame: Frame, bits: int) -> tuple[Tensor, Tensor]:
    """Symbols ``[B, N]`` after the quantiser, and their error variance ``[B, N]``.

    Gradients pass the rounding straight through.
    """
    values = _values(frame)
    level, step = quantise(values.detach(), bits)
    through = values + (dequantise(level, step, bits) - values).detach()
    symbols = torch.view_as_complex(through.reshape(*frame.symbols.shape, 2).contiguous())
    error = (step.square() / 6).expand(values.shape)[..., ::2].flatten(1)
    return symbols, error


def _next_bfloat16(values: Tensor) -> Tensor:
    """The smallest bfloat16 that is no smaller than each positive float32, as float32."""
    return ((values.view(torch.int32) + 0xFFFF) & ~0xFFFF).view(torch.float32)


def _values(frame: Frame) -> Tensor:
    """Real values of each block, ``[B, K, 2 block]``."""
    block = frame.block or frame.symbols.shape[1]
    return torch.view_as_real(frame.symbols).reshape(len(frame.symbols), -1, 2 * block)
