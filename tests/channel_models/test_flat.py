"""Flat airs: the contract, closed-form error rates and fading statistics."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from scipy import stats
from scipy.special import exp1

from channel_models import Air, AirBase, Frame, named_air

from .contract import LINK, AirContract, frame


class TestAwgn(AirContract):
    fading = False

    def build(self, snr_db: float) -> Air:
        return named_air("awgn").build(LINK, snr_db)


class TestRayleigh(AirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("rayleigh").build(LINK, snr_db)


class TestRician(AirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("rician", k_factor_db=3.0).build(LINK, snr_db)


class TestRayleighWithoutCsi(AirContract):
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return named_air("rayleigh", csi="none").build(LINK, snr_db)

    def test_error_has_the_variance_that_is_announced(self) -> None:
        """Without the gain, it is the noise alone that is announced."""
        (got,) = self.build(6.0).transmit([frame("a")], seed=6)
        torch.testing.assert_close(got.noise_var, torch.full((4, 64), 10**-0.6))


def _bit_error_rate(air: AirBase, snr_db: float, batch: int, symbols: int) -> tuple[float, int]:
    """Bit error rate of Gray-mapped QPSK over an air, and the number of bits."""
    generator = torch.Generator().manual_seed(1)
    bits = torch.randint(0, 2, (batch, symbols, 2), generator=generator).float()
    sent = torch.view_as_complex((1 - 2 * bits) / math.sqrt(2))
    ones = torch.ones(batch)
    valid = torch.ones(batch, symbols, dtype=torch.bool)
    (got,) = air.build(LINK, snr_db).transmit([Frame("a", "data", sent, valid, ones)], seed=11)
    decided = (torch.view_as_real(got.symbols) < 0).float()
    return float((decided != bits).double().mean()), bits.numel()


@pytest.mark.parametrize(("ebn0_db", "expected"), [(0, 7.865e-2), (4, 1.250e-2), (8, 1.909e-4)])
def test_qpsk_on_awgn_meets_the_closed_form(ebn0_db: float, expected: float) -> None:
    """BER = Q(sqrt(2 Eb/N0)); QPSK carries two bits a symbol, so SNR = Eb/N0 + 3.01 dB."""
    rate, bits = _bit_error_rate(
        named_air("awgn"), ebn0_db + 10 * math.log10(2), batch=100, symbols=20_000
    )
    assert abs(rate - expected) < 5 * math.sqrt(expected / bits) + 5e-4 * expected


@pytest.mark.parametrize(("ebn0_db", "expected"), [(0, 0.1464), (10, 2.327e-2)])
def test_qpsk_on_rayleigh_meets_the_closed_form(ebn0_db: float, expected: float) -> None:
    """BER = (1 - sqrt(g / (1 + g))) / 2 with coherent detection, one fade a sample."""
    blocks = 200_000
    rate, _ = _bit_error_rate(
        named_air("rayleigh"), ebn0_db + 10 * math.log10(2), batch=blocks, symbols=2
    )
    assert abs(rate - expected) < 5 * math.sqrt(expected / blocks)


def test_rayleigh_power_is_exponential() -> None:
    (got,) = (
        named_air("rayleigh").build(LINK, 0.0).transmit([frame("a", batch=5000, symbols=4)], seed=8)
    )
    power = 10 ** (got.realised_snr_db.double().numpy() / 10)
    assert stats.kstest(power, "expon").pvalue > 1e-3


@pytest.mark.parametrize("k_factor_db", [-10.0, 3.0, 12.0])
def test_rician_power_is_noncentral_chi_squared(k_factor_db: float) -> None:
    """2 (K + 1) |h|^2 has two degrees of freedom and noncentrality 2 K."""
    air = named_air("rician", k_factor_db=k_factor_db).build(LINK, 0.0)
    (got,) = air.transmit([frame("a", batch=5000, symbols=4)], seed=9)
    k = 10 ** (k_factor_db / 10)
    power = 2 * (k + 1) * 10 ** (got.realised_snr_db.double().numpy() / 10)
    assert stats.kstest(power, stats.ncx2(2, 2 * k).cdf).pvalue > 1e-3


def test_the_equaliser_has_least_mean_squared_error() -> None:
    """Announced error on Rayleigh at gamma: E[1 / (1 + gamma |h|^2)], far below zero forcing's."""
    gamma = 10.0
    (got,) = (
        named_air("rayleigh")
        .build(LINK, 10 * math.log10(gamma))
        .transmit([frame("a", batch=20_000, symbols=4)], seed=10)
    )
    expected = math.exp(1 / gamma) * exp1(1 / gamma) / gamma
    spread = float(got.noise_var.std()) / math.sqrt(20_000)
    assert abs(float(got.noise_var.mean()) - expected) < 5 * spread


def test_the_same_seed_gives_the_same_channel_in_another_process() -> None:
    code = (
        "from tests.channel_models.contract import LINK, frame\n"
        "from channel_models import named_air\n"
        "air = named_air('rician').build(LINK, 3.0)\n"
        "print(repr(air.transmit([frame('a')], seed=42)[0].symbols[0, :4].tolist()))"
    )
    here = named_air("rician").build(LINK, 3.0).transmit([frame("a")], seed=42)[0]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == repr(here.symbols[0, :4].tolist())
