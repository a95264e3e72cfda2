"""Checks: a measured and an expected value, and the difference that chance allows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from ..air import Air
from ..frame import Frame

SIGMAS = 4.5
"""About one false alarm in 150,000 checks."""

KS_CRITICAL = math.sqrt(-0.5 * math.log(stats.norm.sf(SIGMAS)))
"""Kolmogorov-Smirnov distance of the same probability, times the root of the sample size."""


@dataclass(frozen=True)
class Check:
    """One quantity, measured and expected.

    Attributes:
        subject: What is checked, such as ``qpsk on rayleigh``.
        quantity: What is measured.
        x: Abscissa of a point of a curve; 0 for a single number.
        x_label: What the abscissa is; empty for a single number.
        measured: Value by simulation.
        expected: Value by theory.
        tolerance: Largest difference that chance allows.
    """

    subject: str
    quantity: str
    x: float
    x_label: str
    measured: float
    expected: float
    tolerance: float

    @property
    def passes(self) -> bool:
        return abs(self.measured - self.expected) <= self.tolerance


@dataclass(frozen=True)
class Curve:
    """Checks of one quantity at several abscissas.

    Attributes:
        subject: What is checked.
        quantity: What is measured.
        x_label: What the abscissa is; empty for a single number.
    """

    subject: str
    quantity: str
    x_label: str

    def check(self, x: float, measured: float, expected: float, tolerance: float) -> Check:
        """The check at one abscissa."""
        return Check(self.subject, self.quantity, x, self.x_label, measured, expected, tolerance)

    def check_mean(self, x: float, samples: Tensor, expected: float) -> Check:
        """A mean of independent samples against its expectation."""
        spread = float(samples.double().std()) / math.sqrt(len(samples))
        return self.check(x, float(samples.double().mean()), expected, SIGMAS * spread)


class Distribution(Protocol):
    """A probability distribution, such as a frozen one of SciPy."""

    def cdf(self, x: NDArray[np.float64]) -> NDArray[np.float64]: ...

    def ppf(self, q: float) -> float: ...


def check_distribution(
    subject: str, name: str, samples: NDArray[np.float64], law: Distribution
) -> Iterator[Check]:
    """Checks powers ``|h|^2``: Kolmogorov-Smirnov distance to a law, shares below its quantiles."""
    count = len(samples)
    distance = float(stats.kstest(samples, law.cdf).statistic)
    critical = KS_CRITICAL / math.sqrt(count)
    yield Check(subject, f"KS distance, {name}", 0, "", distance, 0.0, critical)
    below_quantile = Curve(subject, f"share below, {name}", "|h|²")
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        at = float(law.ppf(share))
        error = math.sqrt(share * (1 - share) / count)
        below = float((samples < at).mean())
        yield below_quantile.check(at, below, share, SIGMAS * error)


def send(air: Air, symbols: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sends symbols ``[B, N]``; returns what arrives, its error variance and the SNR in dB."""
    ones = torch.ones(len(symbols))
    frame = Frame("a", "data", symbols, torch.ones(symbols.shape, dtype=torch.bool), ones)
    (got,) = air.transmit([frame], seed)
    return got.symbols, got.noise_var, got.realised_snr_db


def qpsk(batch: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Random bits ``[B, N, 2]`` and their symbols ``[B, N]``."""
    generator = torch.Generator().manual_seed(seed)
    bits = torch.randint(0, 2, (batch, count, 2), generator=generator).float()
    return bits, torch.view_as_complex((1 - 2 * bits) / math.sqrt(2))
