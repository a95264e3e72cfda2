"""The SNR and power convention, written once.

Complex baseband. A device normalises each sample's valid symbols to unit average power,
E|x|^2 = 1. ``snr_db`` is the average receive SNR per complex symbol, P E|h|^2 / N0 with
E|h|^2 = 1, fixed before fading and never measured from the received signal; the noise has N0/2 per
real dimension. The receiver multiplies the power scale back in, so that an infinite SNR returns
the tokens exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

_MIN_POWER = 1e-12


def normalise(symbols: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Scales each sample to unit average power over its valid symbols.

    Args:
        symbols: complex ``[B, N]``.
        valid: bool ``[B, N]``; padding is set to zero.

    Returns:
        unit-power symbols ``[B, N]`` and the scale ``[B]`` that undoes it.
    """
    symbols = torch.where(valid, symbols, 0)
    energy = (symbols.real.square() + symbols.imag.square()).sum(1)
    scale = (energy / valid.sum(1).clamp(min=1)).clamp(min=_MIN_POWER).sqrt()
    return symbols / scale[:, None], scale


def noise_power(snr_db: float) -> float:
    """N0 at unit symbol power; 0 for an infinite SNR.

    Raises:
        ValueError: if ``snr_db`` is NaN or minus infinity.
    """
    if math.isnan(snr_db) or snr_db == -math.inf:
        raise ValueError(f"snr_db {snr_db} is not an SNR; take a number, or .inf for no noise")
    return float(10.0 ** (-snr_db / 10.0))


def to_db(ratio: Tensor) -> Tensor:
    """10 log10."""
    return 10.0 * torch.log10(ratio)


def from_db(ratio_db: Tensor) -> Tensor:
    """The power ratio of a value in dB."""
    return 10.0 ** (ratio_db / 10.0)


def mean_db(ratios_db: Tensor | Sequence[float], weights: Tensor | None = None) -> float:
    """The mean of power ratios, in dB: averaged as ratios, so that -inf dB counts as nothing.

    Args:
        ratios_db: ``[N]``, in dB.
        weights: ``[N]``, which add up to 1; None weighs all alike.
    """
    ratios = from_db(torch.as_tensor(ratios_db, dtype=torch.float64))
    return float(to_db(ratios.mean() if weights is None else (ratios * weights).sum()))


def energy_mj(tx_power_dbm: float, airtime_ms: float) -> float:
    """Energy of a transmission: power times airtime."""
    return float(10.0 ** (tx_power_dbm / 10.0) * airtime_ms / 1000.0)
