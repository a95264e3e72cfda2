"""Sionna 1.x: banks of realisations that a service makes elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from channel_models import Air, Request, named_air
from channel_models.sources.delay_line import DelayLine
from channel_models.sources.sionna_1 import Arrays, BankedSource, ChannelService
from channel_models.testing import LINK, NormalisedAirContract, frame

REQUEST = Request(20, 14, 28e3, 12, 5, "a")


class _LocalService(ChannelService):
    """NumPy's Rayleigh paths in the place of TensorFlow's, each with a Doppler shift of its own."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, int, float, int], Arrays] = {}

    @property
    def asked(self) -> int:
        return len(self._made)

    def ask(self, batch: int, steps: int, sampling_hz: float, seed: int) -> Any:
        order = (batch, steps, sampling_hz, seed)
        if order not in self._made:
            self._made[order] = self._make(*order)
        return self._made[order]

    def _make(self, batch: int, steps: int, sampling_hz: float, seed: int) -> Arrays:
        rng = np.random.default_rng(seed)
        parts = rng.normal(size=(2, batch, 1, 1, 1, 1, 3, 1)) / np.sqrt(6)
        shift_hz = rng.uniform(-35, 35, size=(batch, 1, 1, 1, 1, 3, 1))
        turned = np.exp(2j * np.pi * shift_hz * np.arange(steps) / sampling_hz)
        gains = (parts[0] + 1j * parts[1]) * turned
        delays = np.tile(np.asarray([0.0, 1e-7, 3e-7]), (batch, 1, 1, 1))
        return gains.astype(np.complex64), delays.astype(np.float32)

    def get(self, ref: Any) -> Arrays:
        arrays: Arrays = ref
        return arrays


class TestBanked(NormalisedAirContract):
    def build(self, snr_db: float) -> Air:
        def service(line: DelayLine) -> ChannelService:
            assert line.profile == "a"
            return _LocalService()

        air = named_air("tdl-a", backend="tensorflow", speed_mps=3.0)
        return air.build(LINK, snr_db, "cpu", service)

    def test_measured_snr_is_the_asked_one(self) -> None:
        """Over one bank batch after the other, as the seed chooses them."""
        air = self.build(7.0)
        ratios = torch.cat(
            [
                10 ** ((got.realised_snr_db.double() - 7.0) / 10)
                for seed in range(60)
                for got in air.transmit([frame("a", batch=60, symbols=4)], seed)
            ]
        )
        assert float(ratios.mean()) == pytest.approx(1.0, abs=5 * float(ratios.std()) / 60)


def test_a_bank_is_ordered_once_and_its_seed_chooses() -> None:
    service = _LocalService()
    source = BankedSource(service, static=False, batches=4, batch=16)
    first = source.realise(REQUEST)
    assert first.gains.shape == (20, 1, 3, 14)
    assert first.delays_s.shape == (1, 3)
    assert torch.equal(source.realise(REQUEST).gains, first.gains)
    assert not torch.equal(source.realise(replace(REQUEST, seed=6)).gains, first.gains)
    assert service.asked == 4
    source.realise(replace(REQUEST, steps=28))
    assert service.asked == 8


def test_many_users_have_distinct_channels_as_far_as_the_bank_goes() -> None:
    """One interval's users, as a population asks for them."""
    source = BankedSource(_LocalService(), static=False, batches=4, batch=16)
    for users, distinct in ((16, 16), (50, 50), (64, 64), (70, 64)):
        gains = source.realise(replace(REQUEST, batch=users)).gains
        assert len(gains) == users
        assert len(torch.unique(torch.view_as_real(gains), dim=0)) == distinct


def test_a_probe_meets_the_channel_of_a_longer_frame() -> None:
    source = BankedSource(_LocalService(), static=False, batches=4, batch=16)
    probed, met = (source.realise(replace(REQUEST, steps=steps)).gains for steps in (1, 28))
    torch.testing.assert_close(met[..., :1], probed)


def test_without_ray_the_backend_is_refused() -> None:
    with pytest.raises(ValueError, match="needs Ray"):
        named_air("tdl-a", backend="tensorflow").build(LINK, 5.0)
