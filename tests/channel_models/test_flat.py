"""Flat airs: the contract, the equaliser, and the same channel in another process."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from scipy.special import exp1

from channel_models import Air, Frame, named_air
from channel_models.testing import LINK, NormalisedAirContract, frame


class TestAwgn(NormalisedAirContract):
    fading = False

    def build(self, snr_db: float) -> Air:
        return named_air("awgn").build(LINK, snr_db)


class TestRayleigh(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("rayleigh").build(LINK, snr_db)


class TestRician(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("rician", k_factor_db=3.0).build(LINK, snr_db)


class TestRayleighWithoutCsi(NormalisedAirContract):
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return named_air("rayleigh", csi="none").build(LINK, snr_db)

    def test_error_has_the_variance_that_is_announced(self) -> None:
        """Without the gain, it is the noise alone that is announced."""
        (got,) = self.build(6.0).transmit([frame("a")], seed=6)
        torch.testing.assert_close(got.noise_var, torch.full((4, 64), 10**-0.6))


@pytest.mark.parametrize("csi", ["perfect", "none"])
@pytest.mark.parametrize("snr_db", [-6.0, 0.0, 10.0, math.inf])
def test_sinr_over_noise_alone_is_the_snr(csi: str, snr_db: float) -> None:
    """Of an LMMSE estimate, whose bias is taken out, and of symbols that nothing equalises."""
    (got,) = named_air("awgn", csi=csi).build(LINK, snr_db).transmit([frame("a")], seed=6)
    torch.testing.assert_close(got.sinr_db, torch.full((4,), snr_db), atol=1e-3, rtol=0)


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
        "from channel_models.testing import LINK, frame\n"
        "from channel_models import named_air\n"
        "air = named_air('rician').build(LINK, 3.0)\n"
        "print(repr(air.transmit([frame('a')], seed=42)[0].symbols[0, :4].tolist()))"
    )
    here = named_air("rician").build(LINK, 3.0).transmit([frame("a")], seed=42)[0]
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert there.stdout.strip() == repr(here.symbols[0, :4].tolist())


def test_a_damaged_frame_is_refused() -> None:
    good = frame("a")
    with pytest.raises(ValueError, match="complex"):
        Frame("a", "data", good.symbols.real, good.valid, good.scale)
    with pytest.raises(ValueError, match="symbols' shape"):
        Frame("a", "data", good.symbols, good.valid[:, 1:], good.scale)
    with pytest.raises(ValueError, match="one value a sample"):
        Frame("a", "data", good.symbols, good.valid, good.scale[1:])
