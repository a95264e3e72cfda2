"""Bit errors, capacity and multiuser detection on flat airs, against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from scipy.special import eval_genlaguerre, exp1, factorial
from torch import Tensor

from ..catalogue.names import named_air
from ..frame import Frame
from ..numerology import Link
from .check import Check, Curve, qpsk, send


def _bit_errors(air: str, ebn0_db: float, batch: int, count: int, antennas: int = 1) -> Tensor:
    """Share of wrong bits of each sample ``[B]``; QPSK has two bits per symbol."""
    bits, symbols = qpsk(batch, count, seed=1)
    built = named_air(air).build(Link(antennas=antennas), ebn0_db + 10 * math.log10(2))
    got, *_ = send(built, symbols, seed=11)
    wrong: Tensor = ((torch.view_as_real(got) < 0).float() != bits).double().mean((1, 2))
    return wrong


def qpsk_on_awgn() -> Iterator[Check]:
    """BER = Q(sqrt(2 Eb/N0))."""
    curve = Curve("qpsk on awgn", "bit error rate", "Eb/N0 (dB)")
    for ebn0_db in (0.0, 2.0, 4.0, 6.0, 8.0):
        expected = float(stats.norm.sf(math.sqrt(2 * 10 ** (ebn0_db / 10))))
        wrong = _bit_errors("awgn", ebn0_db, 200, 20_000)
        yield curve.check_mean(ebn0_db, wrong, expected)


def qpsk_on_rayleigh() -> Iterator[Check]:
    """BER = (1 - sqrt(g / (1 + g))) / 2, coherent."""
    curve = Curve("qpsk on rayleigh", "bit error rate", "Eb/N0 (dB)")
    for ebn0_db in (0.0, 5.0, 10.0, 15.0):
        gamma = 10 ** (ebn0_db / 10)
        wrong = _bit_errors("rayleigh", ebn0_db, 200_000, 2)
        expected = (1 - math.sqrt(gamma / (1 + gamma))) / 2
        yield curve.check_mean(ebn0_db, wrong, expected)


def receive_diversity() -> Iterator[Check]:
    """Maximum ratio combining of M branches (Proakis, eq. 14.4-15)."""
    gamma = 10 ** (5.0 / 10)
    p = (1 - math.sqrt(gamma / (1 + gamma))) / 2
    curve = Curve("receive diversity", "bit error rate", "antennas")
    for branches in (1, 2, 4):
        expected = p**branches * sum(
            math.comb(branches - 1 + k, k) * (1 - p) ** k for k in range(branches)
        )
        wrong = _bit_errors("rayleigh", 5.0, 400_000, 2, antennas=branches)
        yield curve.check_mean(branches, wrong, expected)


def ergodic_capacity() -> Iterator[Check]:
    """E log2(1 + g |h|^2) = exp(1/g) E1(1/g) / ln 2 on Rayleigh fading, from the announced SINR."""
    _, symbols = qpsk(50_000, 1, seed=2)
    curve = Curve("ergodic capacity", "bit/s/Hz", "SNR (dB)")
    for snr_db in (0.0, 10.0, 20.0):
        gamma = 10 ** (snr_db / 10)
        _, noise_var, _ = send(named_air("rayleigh").build(Link(), snr_db), symbols, seed=10)
        expected = math.exp(1 / gamma) * float(exp1(1 / gamma)) / math.log(2)
        rate = -torch.log2(noise_var[:, 0])
        yield curve.check_mean(snr_db, rate, expected)


def multiuser_mimo() -> Iterator[Check]:
    """Error variance of LMMSE detection, E[1 / (1 + g lambda)] over Wishart eigenvalues (Telatar).

    There are eight antennas; as the number of users approaches eight, the SINR falls.
    """
    antennas, gamma = 8, 10.0
    link = Link(access="sdma", antennas=antennas)
    air = named_air("rayleigh").build(link, 10.0)
    _, symbols = qpsk(4000, 1, seed=4)
    valid, ones = torch.ones(symbols.shape, dtype=torch.bool), torch.ones(len(symbols))
    curve = Curve("mu-mimo", "mean error variance", "users")
    for users in (1, 2, 4, 6, 8):
        frames = [Frame(f"u{i}", "data", symbols, valid, ones) for i in range(users)]
        errors = torch.stack([r.noise_var[:, 0] for r in air.transmit(frames, 12)]).mean(0)
        expected = _wishart_mean(antennas, users, lambda x: 1 / (1 + gamma * x))
        yield curve.check_mean(users, errors, expected)


def _wishart_mean(antennas: int, users: int, f: Callable[[float], float]) -> float:
    """Mean of f over an unordered eigenvalue of H^H H; H is CN(0, 1) ``[antennas, users]``."""
    excess = antennas - users

    def density(x: NDArray[np.float64]) -> NDArray[np.float64]:
        terms = [
            factorial(k) / factorial(k + excess) * eval_genlaguerre(k, excess, x) ** 2
            for k in range(users)
        ]
        found: NDArray[np.float64] = np.sum(terms, axis=0) * x**excess * np.exp(-x) / users
        return found

    x = np.linspace(0.0, 80.0, 400_001)
    return float(np.trapezoid(density(x) * np.vectorize(f)(x), x))
