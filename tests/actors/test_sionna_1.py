"""Sionna 1.x in its isolated actor against Sionna 2 here."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import ray
import torch
from scipy import stats
from scipy.special import j0

from actors import BaseStation
from actors.engines.sionna_1 import RayChannelService
from channel_models import Link, Request, named_air
from channel_models.sources.delay_line import DelayLine
from channel_models.sources.sionna_1 import BankedSource
from tests.local_ray import local_ray

from .conftest import PartsOf

LINK = Link()
REQUEST = Request(2048, 29, 28e3, 12, 3, "a")


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with local_ray():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize("name", ["tdl-a", "cdl-c"])
def test_sionna_1_and_2_agree_statistically(name: str) -> None:
    """Power delay profile, Doppler autocorrelation, and amplitudes by Kolmogorov-Smirnov."""
    air = named_air(name, speed_mps=30.0, backend="tensorflow")
    theirs = air.served_source(LINK, "cpu", RayChannelService)
    ours = named_air(name, speed_mps=30.0).source(LINK, "cpu")
    assert isinstance(theirs, BankedSource)
    assert ours is not None
    banked = [theirs.realise(Request(128, 29, 28e3, 12, seed, "a")) for seed in range(16)]
    gains_1 = torch.cat([channel.gains for channel in banked])[:, 0]
    channel = ours.realise(REQUEST)
    gains_2 = channel.gains[:, 0]
    order_1, order_2 = torch.argsort(banked[0].delays_s[0]), torch.argsort(channel.delays_s[0])
    torch.testing.assert_close(
        banked[0].delays_s[0][order_1], channel.delays_s[0][order_2], rtol=1e-4, atol=1e-11
    )
    power_1, power_2 = (g.abs().square().mean(2) for g in (gains_1, gains_2))
    spread = (
        power_1.var(0)[order_1] / len(power_1) + power_2.var(0)[order_2] / len(power_2)
    ).sqrt()
    gap = (power_1.mean(0)[order_1] - power_2.mean(0)[order_2]).abs()
    assert (gap < 4.5 * spread + 1e-6).all()
    for lag in (7, 14, 28):
        correlation_1, correlation_2 = (
            (g[..., 0].conj() * g[..., lag]).real.sum(1) for g in (gains_1, gains_2)
        )
        error = float(
            (correlation_1.var() / len(gains_1) + correlation_2.var() / len(gains_2)).sqrt()
        )
        assert abs(float(correlation_1.mean() - correlation_2.mean())) < 4.5 * error
        if name == "tdl-a":
            shift_hz = 30.0 * 3.5e9 / 299_792_458
            expected = float(j0(2 * np.pi * shift_hz * lag / 28e3))
            assert abs(float(correlation_1.mean()) - expected) < 4.5 * error
    sums_1, sums_2 = (g[..., 0].sum(1).abs().numpy() for g in (gains_1, gains_2))
    assert stats.ks_2samp(sums_1, sums_2).pvalue > 1e-4


@pytest.mark.slow
@pytest.mark.usefixtures("_ray")
def test_a_killed_actor_is_restarted_and_gives_the_same_channels() -> None:
    source = named_air("tdl-a", backend="tensorflow").served_source(LINK, "cpu", RayChannelService)
    assert isinstance(source, BankedSource)
    service = source._service
    before = service.get(service.ask(4, 2, 28e3, seed=5))
    ray.kill(service._actor, no_restart=False)
    service._refs.clear()
    after = service.get(service.ask(4, 2, 28e3, seed=5))
    for own, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(own, again)


class _Sionna1:
    """Stands in for the Ray actor, and counts what is asked of it."""

    def __init__(self) -> None:
        self.options: list[dict[str, Any]] = []
        self.orders: list[tuple[Any, ...]] = []
        self.realise = SimpleNamespace(remote=self._order)

    def start(self, **options: Any) -> SimpleNamespace:
        self.options.append(options)
        return SimpleNamespace(remote=lambda *_: self)

    def _order(self, *order: Any) -> object:
        self.orders.append(order)
        return object()


@pytest.fixture
def sionna_1(monkeypatch: pytest.MonkeyPatch) -> _Sionna1:
    """What :func:`ray.remote` makes."""
    found = _Sionna1()
    monkeypatch.setattr(ray, "remote", lambda _: SimpleNamespace(options=found.start))
    return found


def test_a_base_station_keeps_its_channels_at_every_snr(
    sionna_1: _Sionna1, parts_of: PartsOf
) -> None:
    """They do not depend on it, and an actor takes long to start."""
    station = BaseStation(parts_of().station)
    for name, snr_db in (("tdl-a", 0.0), ("tdl-a", 10.0), ("tdl-c", 10.0)):
        station.set_channel(named_air(name, speed_mps=3.0, backend="tensorflow"), snr_db)
    assert len(sionna_1.options) == 2
    assert all(
        o["runtime_env"]["env_vars"] == {"CUDA_VISIBLE_DEVICES": ""} for o in sionna_1.options
    )


def test_a_batch_of_channels_is_made_once(sionna_1: _Sionna1) -> None:
    line = DelayLine("tdl", "a", 1e-7, 3.5e9, 3.0, 1)
    service = RayChannelService(line)
    first = service.ask(4, 2, 28e3, seed=5)
    assert service.ask(4, 2, 28e3, seed=5) is first
    assert service.ask(4, 2, 28e3, seed=6) is not first
    assert len(sionna_1.orders) == 2


def test_channels_that_could_not_be_made_are_asked_for_again(
    sionna_1: _Sionna1, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What only takes long stays under way."""
    service = RayChannelService(DelayLine("tdl", "a", 1e-7, 3.5e9, 3.0, 1))
    order = (4, 2, 28e3, 5)
    for error, stays in (
        (ray.exceptions.GetTimeoutError(), True),
        (ray.exceptions.ObjectLostError("00", None, ""), False),
        (ray.exceptions.RuntimeEnvSetupError("no pip"), False),
    ):

        def get(*_: Any, error: Exception = error, **__: Any) -> None:
            raise error

        monkeypatch.setattr(ray, "get", get)
        asked = service.ask(*order)
        with pytest.raises((RuntimeError, ValueError, ray.exceptions.RayError)):
            service.get(asked)
        assert (service.ask(*order) is asked) == stays
