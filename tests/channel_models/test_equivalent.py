"""The abstraction of token symbols agrees with the link it stands for."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from channel_models import Air, Frame, Link, mean_db, named_air, normalise
from channel_models.reception.equivalent import EquivalentAir
from channel_models.testing import LINK, NormalisedAirContract, frame


class TestEquivalent(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("tdl-a", fidelity="abstract").build(LINK, snr_db)


def _errors(air: Air, batch: int, symbols: int) -> torch.Tensor:
    """Mean squared error of each sample of one of three users."""
    frames = [frame(name, batch, symbols, seed=i) for i, name in enumerate("abc")]
    got = air.transmit(frames, seed=4)[0]
    error = got.symbols / frames[0].scale[:, None] - frames[0].symbols
    return (error.abs().square() * frames[0].valid).sum(1) / frames[0].valid.sum(1)


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("tdl-a", Link()),
        ("cdl-c", Link(antennas=4)),
        ("rayleigh", Link(access="sdma", antennas=4)),
        ("umi", Link()),
    ],
)
def test_errors_are_those_of_the_link(name: str, link: Link) -> None:
    """The same fading on both sides: means within a twentieth, samples closely correlated."""
    by_link, abstract = (
        _errors(named_air(name, fidelity=fidelity).build(link, 8.0), 300, 384)
        for fidelity in ("link", "abstract")
    )
    assert float(abstract.mean()) == pytest.approx(float(by_link.mean()), rel=0.05)
    correlation = torch.corrcoef(torch.stack([by_link.log(), abstract.log()]))[0, 1]
    assert float(correlation) > 0.9


@pytest.mark.parametrize("csi", ["perfect", "estimated"])
def test_a_wide_band_keeps_its_diversity(csi: str) -> None:
    """Quantiles of the samples' announced errors and SINRs, over many coherence bandwidths.

    The mean of SINRs is far from the SINR of the mean error, by which outages would be others.
    """
    by_link, abstract = (
        named_air("tdl-c", delay_spread_ns=300, csi=csi, fidelity=fidelity)
        .build(Link(bandwidth_hz=10e6), 5.0)
        .transmit([frame("a", batch=100, symbols=5000)], seed=4)[0]
        for fidelity in ("link", "abstract")
    )
    at = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])
    found, expected = (own.noise_var.mean(1).quantile(at) for own in (abstract, by_link))
    torch.testing.assert_close(found, expected, rtol=0.03, atol=0)
    found, expected = (own.sinr_db.quantile(at) for own in (abstract, by_link))
    torch.testing.assert_close(found, expected, rtol=0, atol=0.15)


def test_a_samples_error_does_not_depend_on_its_batch_mates() -> None:
    """A short text fades on its own subcarriers, whoever fills the band beside it."""
    lengths = torch.tensor([12, 12, 0, 144])
    air = named_air("tdl-c", delay_spread_ns=300, fidelity="abstract").build(Link(), 10.0)
    whole = frame("a", batch=4, symbols=144)
    valid = torch.arange(144) < lengths[:, None]
    together = air.transmit([replace(whole, valid=valid)], seed=3)[0].noise_var[:, 0]
    cut = replace(whole, symbols=whole.symbols[:, :12], valid=valid[:, :12])
    apart = air.transmit([cut], seed=3)[0].noise_var[:, 0]
    torch.testing.assert_close(together[:2], apart[:2])
    assert together[2].isfinite()
    by_link = named_air("tdl-c", delay_spread_ns=300).build(Link(), 10.0).transmit([cut], seed=3)[0]
    torch.testing.assert_close(apart[:2], by_link.noise_var[:2].mean(1))


def test_what_has_no_equaliser_has_no_abstraction() -> None:
    with pytest.raises(ValueError, match="csi none"):
        named_air("rayleigh", csi="none", fidelity="abstract").build(LINK, 5.0)


def test_a_user_who_sends_nothing_does_not_interfere() -> None:
    """Two antennas: alone a user has the gain of both, beside another one that of one."""
    link = Link(access="sdma", antennas=2)
    air = named_air("rayleigh").build(link, 15.0)
    equivalent = EquivalentAir(air)
    generator = torch.Generator().manual_seed(1)

    def sinr_db(silent: bool) -> float:
        frames = []
        for name in ("a", "b"):
            raw = torch.randn(1000, 16, dtype=torch.complex64, generator=generator)
            valid = torch.full((1000, 16), not (silent and name == "b"))
            symbols, scale = normalise(raw, valid)
            frames.append(Frame(name, name, symbols, valid, scale, block=4))
        return mean_db(equivalent.transmit(frames, seed=3)[0].sinr_db)

    assert sinr_db(silent=False) == pytest.approx(15.0, abs=0.4)
    assert sinr_db(silent=True) == pytest.approx(15.0 + 10 * math.log10(2), abs=0.4)
