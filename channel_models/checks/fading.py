"""Taps, Doppler and amplitudes of fading channels, against the standard and theory."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from scipy import stats
from scipy.special import j0

from ..catalogue.names import named_air
from ..numerology import SPEED_OF_LIGHT_MPS, Link
from ..sources.source import Request
from .check import SIGMAS, Check, Curve, check_distribution, qpsk, send

_TDL_A = (
    (0.0, -13.4), (0.3819, 0.0), (0.4025, -2.2), (0.5868, -4.0), (0.4610, -6.0), (0.5375, -8.2),
    (0.6708, -9.9), (0.5750, -10.5), (0.7618, -7.5), (1.5375, -15.9), (1.8978, -6.6),
    (2.2242, -16.7), (2.1718, -12.4), (2.4942, -15.2), (2.5119, -10.8), (3.0582, -11.3),
    (4.0810, -12.7), (4.4579, -16.2), (4.5695, -18.3), (4.7966, -18.9), (5.0066, -16.6),
    (5.3043, -19.9), (9.6586, -29.7),
)  # fmt: skip
"""Normalised delay and power in dB of each tap, TR 38.901 table 7.7.2-1."""


def tdl_a_taps() -> Iterator[Check]:
    """Tap powers of TR 38.901 table 7.7.2-1, and the RMS delay spread that was asked for."""
    source = named_air("tdl-a", delay_spread_ns=300.0).source(Link(), "cpu")
    assert source is not None
    channel = source.realise(Request(20_000, 1, 1.0, 12, 7, "a"))
    power = channel.gains[:, 0, :, 0].abs().square().double()
    table = sorted(_TDL_A)
    total = sum(10 ** (db / 10) for _, db in table)
    order = torch.argsort(channel.delays_s[0])
    taps = Curve("tdl-a taps", "power", "normalised delay")
    for (delay, db), tap in zip(table, order, strict=True):
        expected = 10 ** (db / 10) / total
        yield taps.check_mean(delay, power[:, tap], expected)
    mean = power.mean(0)
    delays = channel.delays_s[0].double()
    spread = float(
        ((mean * delays**2).sum() / mean.sum() - ((mean * delays).sum() / mean.sum()) ** 2).sqrt()
    )
    error = float((power.std(0) / math.sqrt(len(power)) * (delays / spread) ** 2).sum()) / 2
    yield Check(
        "tdl-a taps", "RMS delay spread / 300 ns", 0, "", spread / 3e-7, 1.0, SIGMAS * error
    )


def doppler() -> Iterator[Check]:
    """Autocorrelation of a Rayleigh tap: J0(2 pi f_D tau)."""
    speed_mps, carrier_hz, sampling_hz = 30.0, 3.5e9, 28e3
    shift_hz = speed_mps * carrier_hz / SPEED_OF_LIGHT_MPS
    source = named_air("tdl-a", speed_mps=speed_mps).source(Link(), "cpu")
    assert source is not None
    gains = source.realise(Request(4_000, 57, sampling_hz, 12, 8, "a")).gains[:, 0]
    curve = Curve("doppler", "autocorrelation", "lag (ms)")
    for lag in (7, 14, 28, 56):
        products = (gains[..., 0].conj() * gains[..., lag]).real.sum(1)
        delay = lag / sampling_hz
        expected = float(j0(2 * math.pi * shift_hz * delay))
        yield curve.check_mean(delay * 1e3, products, expected)


def amplitudes() -> Iterator[Check]:
    """Power |h|^2 of block fading: exponential (Rayleigh), noncentral chi^2 (Rician)."""
    _, symbols = qpsk(20_000, 1, seed=2)
    *_, snr_db = send(named_air("rayleigh").build(Link(), 0.0), symbols, seed=8)
    power = 10 ** (snr_db.double().numpy() / 10)
    yield from check_distribution("amplitudes", "rayleigh", power, stats.expon())
    for k_db in (0.0, 6.0, 12.0):
        rician = named_air("rician", k_factor_db=k_db).build(Link(), 0.0)
        *_, snr_db = send(rician, symbols, seed=9)
        k = 10 ** (k_db / 10)
        power = 10 ** (snr_db.double().numpy() / 10)
        law = stats.ncx2(2, 2 * k, scale=1 / (2 * (k + 1)))
        yield from check_distribution("amplitudes", f"rician {k_db:g} dB", power, law)
