"""Detection of one user and of several by linear MMSE.

Shapes: ``B`` samples, ``U`` users, ``M`` antennas, ``T`` OFDM symbols, ``F`` subcarriers. A
response may have a single OFDM symbol or a single subcarrier, which then stands for all.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_MIN_NOISE = 1e-9


def lmmse_combine(received: Tensor, response: Tensor, noise_power: Tensor) -> tuple[Tensor, Tensor]:
    """LMMSE estimate h^H y / (|h|^2 + N0) of one user's unit-power symbols.

    Args:
        received: ``[B, M, T, F]``.
        response: ``[B, M, T or 1, F or 1]``.
        noise_power: Broadcastable to ``[B, T, F]``.

    Returns:
        estimates and their error variances N0 / (|h|^2 + N0), ``[B, T, F]``.
    """
    power = (response.real.square() + response.imag.square()).sum(1)
    total = power + noise_power
    return (response.conj() * received).sum(1) / total, (noise_power / total).expand_as(total)


def detect_users(
    received: Tensor, responses: Sequence[Tensor], active: Tensor, noise_power: Tensor
) -> tuple[Tensor, Tensor]:
    """Multiuser LMMSE: x = (H^H H + N0 I)^-1 H^H y, error variances N0 diag (H^H H + N0 I)^-1.

    It computes in double precision: with more users than antennas H^H H is singular, and N0 may be
    small.

    Args:
        received: ``[B, M, T, F]``.
        responses: Response of each user, ``[B, M, T or 1, F or 1]``.
        active: bool ``[B, T, F, U]``, where a user sends.
        noise_power: Broadcastable to ``[B, T, F]``.

    Returns:
        estimates and their error variances, ``[B, T, F, U]``; 0 and 1 where a user is silent.
    """
    steps = received.shape[2]
    response = torch.stack([h.expand(-1, -1, steps, -1) for h in responses], dim=-1)
    response = response.permute(0, 2, 3, 1, 4) * active[..., None, :]
    response = response.to(torch.complex128)
    adjoint = response.mH
    noise = noise_power.expand(active.shape[:-1]).clamp(min=_MIN_NOISE)[..., None, None]
    identity = torch.eye(len(responses), dtype=response.dtype, device=response.device)
    inverse = torch.linalg.inv(adjoint @ response + noise * identity)
    matched = adjoint @ received.permute(0, 2, 3, 1)[..., None].to(response.dtype)
    errors = noise[..., 0] * torch.diagonal(inverse, dim1=-2, dim2=-1).real
    return (inverse @ matched)[..., 0].to(received.dtype), errors.float()


def sample_lmmse_estimate(
    symbols: Tensor, error: Tensor, scale: Tensor, generator: torch.Generator
) -> Tensor:
    """Draws an LMMSE estimate of known error variance e: ``scale ((1 - e) x + n)``.

    After combining, the noise of all antennas is a single Gaussian n of power e (1 - e). So one
    draw per symbol is enough, however many antennas there are.

    Args:
        symbols: x, complex64 ``[B, ...]`` of unit power.
        error: float32, broadcastable to ``symbols``.
        scale: float32 ``[B]``, power scale to restore.
        generator: Draws the noise.
    """
    scale = scale.reshape(-1, *(1,) * (symbols.ndim - 1))
    gain = 1 - error
    spread, gain = (error * gain).sqrt() * scale, gain * scale
    noise = _noise_parts(symbols.shape, 1.0, generator)
    if spread.shape[-1] > 1:
        return _mixed(torch.view_as_complex(noise), spread, symbols, gain)
    # A single weight per sample multiplies real and imaginary parts without a complex view.
    mixed = _mixed(noise, spread[..., None], torch.view_as_real(symbols), gain[..., None])
    return torch.view_as_complex(mixed)


def _mixed(noise: Tensor, spread: Tensor, signal: Tensor, gain: Tensor) -> Tensor:
    """``spread noise + gain signal``; overwrites the noise unless ``spread`` needs a gradient."""
    noise = noise * spread if spread.requires_grad else noise.mul_(spread)
    return noise.addcmul_(signal, gain)


def gaussian_noise(shape: Sequence[int], power: float, generator: torch.Generator) -> Tensor:
    """Circular complex Gaussian noise of power ``power`` per symbol."""
    return torch.view_as_complex(_noise_parts(shape, power, generator))


def _noise_parts(shape: Sequence[int], power: float, generator: torch.Generator) -> Tensor:
    """Real and imaginary parts, ``[..., 2]``."""
    noise = torch.empty(*shape, 2, device=generator.device)
    return noise.normal_(0.0, (power / 2) ** 0.5, generator=generator)
