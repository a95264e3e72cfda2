"""The contract of every air, as tests to inherit; needs pytest.

To test an air of your own, inherit them in a test file::

    from channel_models import Link, named_air
    from channel_models.testing import NormalisedAirContract

    class TestMine(NormalisedAirContract):
        def build(self, snr_db):
            return named_air("custom", **{"class": "mine:Mine"}).build(Link(), snr_db)

:class:`AirContract` holds for all airs, including those with a link budget and digital links.
:class:`NormalisedAirContract` adds what holds for airs that are built for an average SNR.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from .air import Air, Reception
from .frame import Frame, Transport
from .numerology import Link
from .power import normalise

LINK = Link()


def frame(
    sender: str,
    batch: int = 4,
    symbols: int = 64,
    seed: int = 0,
    gain: float = 1.0,
    requires_grad: bool = False,
    transport: Transport = "analog",
) -> Frame:
    """Gaussian symbols in tokens of four; the last quarter of every second sample is padding."""
    generator = torch.Generator().manual_seed(seed)
    raw = gain * torch.randn(batch, symbols, dtype=torch.complex64, generator=generator)
    valid = torch.ones(batch, symbols, dtype=torch.bool)
    valid[1::2, -symbols // 4 :] = False
    unit, scale = normalise(raw, valid)
    return Frame(
        sender,
        "data",
        unit.detach().requires_grad_(requires_grad),
        valid,
        scale.detach().requires_grad_(requires_grad),
        block=4,
        transport=transport,
    )


def squared_errors(sent: Frame, got: Reception) -> torch.Tensor:
    """Squared error of each unit-power symbol, ``[B, N]``; 0 where nothing was sent or arrived."""
    error = (got.symbols / sent.scale[:, None] - sent.symbols).abs().square()
    return error * (sent.valid & ~got.erased)


class AirContract:
    """What holds for every air."""

    counts_symbols = True
    """Whether there are as many channel uses as valid symbols."""

    transport: Transport = "analog"
    """How the frames travel."""

    many = 3000
    """Number of samples that a mean is taken over."""

    def frame(self, sender: str, **settings: Any) -> Frame:
        """A frame of :func:`frame` that travels as the class says."""
        return frame(sender, transport=self.transport, **settings)

    def build(self, snr_db: float) -> Air:
        """Builds the air; one with a link budget ignores the SNR."""
        raise AssertionError("a test class says how to build its air")

    def test_shapes_types_and_padding(self) -> None:
        frames = [self.frame("a", symbols=64), self.frame("b", symbols=40, seed=1)]
        for sent, got in zip(frames, self.build(10.0).transmit(frames, seed=1), strict=True):
            assert got.symbols.shape == sent.symbols.shape
            assert got.symbols.dtype == torch.complex64
            assert (got.symbols[~sent.valid | got.erased] == 0).all()
            for name in ("noise_var", "erased"):
                assert getattr(got, name).shape == sent.symbols.shape
            for name in ("realised_snr_db", "sinr_db"):
                assert getattr(got, name).shape == (4,)
            assert got.erased.dtype == torch.bool
            uses = float(sent.valid.sum(1).float().mean())
            if self.counts_symbols:
                assert got.overhead.data_channel_uses == pytest.approx(uses)
            assert got.overhead.airtime_ms > 0
            assert got.overhead.energy_mj > 0

    def test_gradients_reach_symbols_and_scale(self) -> None:
        sent = self.frame("a", batch=24, requires_grad=True)
        (got,) = self.build(10.0).transmit([sent], seed=1)
        got.symbols.abs().square().sum().backward()
        arrived = sent.valid & ~got.erased
        assert arrived.any()
        assert sent.symbols.grad is not None
        assert (sent.symbols.grad[arrived].abs() > 0).all()
        assert (sent.symbols.grad[~arrived] == 0).all()
        assert sent.scale.grad is not None
        assert torch.equal(sent.scale.grad != 0, arrived.any(1))

    def test_same_seed_same_channel(self) -> None:
        air = self.build(5.0)
        first, other, again = (
            air.transmit([self.frame("a", batch=24)], seed=s)[0] for s in (3, 4, 3)
        )
        assert torch.equal(first.symbols, again.symbols)
        assert torch.equal(first.realised_snr_db, again.realised_snr_db)
        assert not torch.equal(first.symbols, other.symbols)

    def test_torchs_own_generator_is_left_alone(self) -> None:
        torch.manual_seed(1)
        expected = torch.rand(3)
        torch.manual_seed(1)
        self.build(5.0).transmit([self.frame("a")], seed=3)
        assert torch.equal(torch.rand(3), expected)

    def test_nobodys_channel_depends_on_what_the_others_send(self) -> None:
        air = self.build(5.0)
        among_short, among_loud = (
            air.transmit([self.frame("b", symbols=n, gain=gain), self.frame("a")], seed=3)[1]
            for n, gain in ((8, 1.0), (96, 100.0))
        )
        assert torch.equal(among_short.symbols, among_loud.symbols)
        assert torch.equal(among_short.realised_snr_db, among_loud.realised_snr_db)

    def test_a_loud_sample_does_not_change_its_batch_mates_snr(self) -> None:
        quiet = torch.randn(2, 64, dtype=torch.complex64)
        valid = torch.ones(2, 64, dtype=torch.bool)
        errors = []
        for factor in (1.0, 1000.0):
            unit, scale = normalise(quiet * torch.tensor([[1.0], [factor]]), valid)
            sent = Frame("a", "data", unit, valid, scale, 4, self.transport)
            (got,) = self.build(8.0).transmit([sent], seed=2)
            errors.append((got.symbols - quiet)[0])
        assert torch.equal(errors[0], errors[1])

    def test_error_has_the_variance_that_is_announced(self) -> None:
        """Mean over samples, within five standard errors of the difference."""
        sent = self.frame("a", batch=self.many, symbols=16)
        (got,) = self.build(6.0).transmit([sent], seed=6)
        announced = got.noise_var * (sent.valid & ~got.erased)
        gap = (squared_errors(sent, got) - announced).sum(1) / sent.valid.sum(1)
        assert abs(float(gap.mean())) < 5 * float(gap.std()) / len(gap) ** 0.5 + 1e-4

    def test_bad_input_is_refused(self) -> None:
        air = self.build(5.0)
        with pytest.raises(ValueError, match="distinct"):
            air.transmit([], seed=0)
        with pytest.raises(ValueError, match="distinct"):
            air.transmit([self.frame("a"), self.frame("a")], seed=0)


class NormalisedAirContract(AirContract):
    """What also holds for airs that are built for an average SNR."""

    exact_when_noiseless = True
    """Whether symbols arrive as they were sent if there is no noise."""

    fading = True
    """Whether the SNR, as a mean over the band, differs from sample to sample."""

    def test_measured_snr_is_the_asked_one(self) -> None:
        """Mean of realised linear SNR over fading, within five standard errors."""
        asked_db, batch = 7.0, 4000
        (got,) = self.build(asked_db).transmit([self.frame("a", batch=batch, symbols=4)], seed=5)
        ratio = 10 ** ((got.realised_snr_db.double() - asked_db) / 10)
        tolerance = 5 * float(ratio.std()) / batch**0.5 + 1e-4
        assert abs(float(ratio.mean()) - 1) < tolerance
        assert (float(ratio.std()) > 0.1) == self.fading

    def test_infinite_snr_returns_the_tokens(self) -> None:
        if not self.exact_when_noiseless:
            pytest.skip("this air distorts without noise, too")
        sent = self.frame("a", gain=3.0)
        (got,) = self.build(float("inf")).transmit([sent], seed=7)
        torch.testing.assert_close(
            got.symbols, sent.symbols * sent.scale[:, None], rtol=1e-5, atol=1e-5
        )

    def test_what_is_no_snr_is_refused(self) -> None:
        with pytest.raises(ValueError, match="is not an SNR"):
            self.build(float("nan"))
