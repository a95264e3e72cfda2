"""Populations: every user has channels of its own, whoever else is scheduled."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.special import j0

from channel_models import (
    Air,
    DigitalConfig,
    Link,
    Members,
    PopulationSize,
    Reception,
    Request,
    named_air,
)
from channel_models.digital.air import DigitalAir
from channel_models.reception.tensorflow import TensorflowAir
from channel_models.sources.budget import BudgetedSource
from channel_models.sources.recording import record
from channel_models.testing import LINK, frame

USERS = 40


def _build(name: str, link: Link = LINK, **settings: object) -> Air:
    air = named_air(name, **settings)
    return air.build(
        link, 10.0 if air.sets_snr else math.nan, population=PopulationSize(USERS, seed=5)
    )


def _members(users: list[int], intervals: list[int]) -> Members:
    when = torch.tensor(intervals)
    return Members(torch.tensor(users), when, when.double() * 1e-3)


def _send(air: Air, users: list[int], intervals: list[int], sender: str = "a") -> Reception:
    transport = "digital" if isinstance(air, DigitalAir) else "analog"
    sent = frame(sender, batch=len(users), transport=transport)
    sent = replace(sent, members=_members(users, intervals))
    return air.transmit([sent], seed=1)[0]


AIRS = [
    ("rayleigh", {}),
    ("tdl-a", {"speed_mps": 3.0}),
    ("cdl-c", {}),
    ("umi", {"speed_mps": 3.0}),
    ("umi", {"fidelity": "abstract"}),
    ("umi", {"digital": DigitalConfig()}),
    ("tdl-a", {"csi": "estimated", "interpolation": "lmmse"}),
]


@pytest.mark.parametrize(("name", "settings"), AIRS)
def test_a_users_channel_is_its_own_whoever_else_is_scheduled(
    name: str, settings: dict[str, object]
) -> None:
    air = _build(name, **settings)
    among_some = _send(air, [3, 7, 3, 9], [0, 0, 2, 2]).realised_snr_db
    among_others = _send(air, [1, 3, 7, 20, 3], [0, 0, 0, 2, 2]).realised_snr_db
    torch.testing.assert_close(among_some[[0, 1, 2]], among_others[[1, 2, 4]])
    assert len(among_others.unique()) >= 4
    other_device = _send(air, [3], [0], sender="b").realised_snr_db
    assert not torch.isclose(other_device[0], among_some[0])


@pytest.mark.parametrize("name", ["rayleigh", "umi", "awgn"])
def test_a_scheduler_sees_what_the_transmission_meets(name: str) -> None:
    """Exactly on a flat channel; through eight of its subcarriers on a selective one."""
    air = _build(name)
    users, intervals = list(range(USERS)), [4] * USERS
    seen_db = 10 * torch.log10(air.predict_snr(["a"], _members(users, intervals)))
    met_db = _send(air, users, intervals).realised_snr_db
    if name == "umi":
        assert float((seen_db - met_db).abs().median()) < 1.0
    else:
        torch.testing.assert_close(seen_db, met_db, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", ["awgn", "rayleigh"])
def test_without_noise_a_scheduler_sees_an_infinite_snr(name: str) -> None:
    air = named_air(name).build(LINK, math.inf, population=PopulationSize(USERS, seed=5))
    assert (air.predict_snr(["a"], _members([3, 7], [0, 0])) == math.inf).all()
    foreign = TensorflowAir(LINK, 0.0, lambda symbols, n0, seed: symbols)
    assert (foreign.predict_snr(["a"], _members([3, 7], [0, 0])) == math.inf).all()


def test_users_of_a_cell_keep_their_places_and_their_mean_gain() -> None:
    air = _build("umi", speed_mps=3.0)
    early, late = (_send(air, list(range(USERS)), [i] * USERS) for i in (0, 50))
    for name in ("x_m", "y_m"):
        assert torch.equal(early.location[name], late.location[name])
        assert len(early.location[name].unique()) == USERS
    torch.testing.assert_close(early.location["path_loss_db"], late.location["path_loss_db"])
    assert not torch.allclose(early.realised_snr_db, late.realised_snr_db)
    still = _build("umi")
    first, again = (_send(still, [3], [i]).realised_snr_db for i in (0, 50))
    assert torch.equal(first, again)


def test_users_of_a_recorded_cell_keep_their_power_and_their_place(tmp_path: Path) -> None:
    """Each sample's energy is that of its own power, and its place one of the trace's."""
    umi = named_air("umi", p0_dbm=-90.0).source(LINK, "cpu")
    assert isinstance(umi, BudgetedSource)
    file = tmp_path / "umi.parquet"
    trace = record(umi.source, Request(200, 1, 28e3, 12, 3, "a"), ["a"], 3.5e9, physical=True)
    trace.write(file)
    got = _send(_build("recorded", file=str(file), p0_dbm=-90.0), [3, 7, 3, 9], [0, 0, 2, 2])
    for name in ("x_m", "y_m"):
        assert len(got.location[name].unique()) == 4
    assert torch.isin(got.location["x_m"], torch.from_numpy(trace.places_m[:, 0])).all()
    sent_mw = 10 ** (got.location["tx_power_dbm"].double() / 10)
    assert got.overhead.energy_mj == pytest.approx(
        float(sent_mw.mean()) * got.overhead.airtime_ms / 1000
    )


def test_fading_of_a_moving_population_decorrelates_as_clarke_says() -> None:
    """J0(2 pi f_D tau) over all users' and samples' strongest paths."""
    speed_mps, users = 30.0, 600
    air = named_air("umi", speed_mps=speed_mps)
    source = air.source(LINK, "cpu")
    assert source is not None
    population = air.populate(source, PopulationSize(users, 1), "cpu")
    for lag_s in (1e-3, 2e-3):
        members = Members(torch.arange(users), torch.zeros(users).long(), torch.zeros(users))
        request = Request(users, 2, 1 / lag_s, 12, 0, "a", members)
        gains = population.realise(request).gains[:, 0]
        turned = gains[..., 1] * gains[..., 0].conj()
        present = turned.abs() > 0
        cosine = (turned.real[present] / turned.abs()[present]).double()
        expected = float(j0(2 * math.pi * speed_mps * 3.5e9 / 299_792_458.0 * lag_s))
        error = float(cosine.std()) / math.sqrt(len(cosine))
        assert abs(float(cosine.mean()) - expected) < 5 * error


def test_what_a_population_needs_is_asked_for() -> None:
    with pytest.raises(ValueError, match="name their members"):
        _build("rayleigh").transmit([frame("a")], seed=1)
    with pytest.raises(ValueError, match="leave drop_seed out"):
        _build("umi", drop_seed=1)
    with pytest.raises(ValueError, match="one user a sample"):
        replace(frame("a", batch=3), members=_members([1], [0]))


@pytest.mark.parametrize(("name", "settings"), [("rayleigh", {}), ("umi", {"speed_mps": 3.0})])
def test_whoever_sends_again_meets_other_fading(name: str, settings: dict[str, float]) -> None:
    """Of a population, too; what is sent first is what the scheduler has seen."""
    air = _build(name, **settings)
    members = _members(list(range(USERS)), [3] * USERS)
    sent = replace(frame("a", batch=USERS), members=members)
    first, again = (air.transmit([replace(sent, attempt=n)], seed=1)[0] for n in (0, 1))
    predicted_db = 10 * air.predict_snr(["a"], members).log10()
    assert float((predicted_db - first.realised_snr_db).abs().mean()) < 1.0
    assert float((again.realised_snr_db - first.realised_snr_db).abs().median()) > 0.2
    for place, value in first.location.items():
        torch.testing.assert_close(again.location[place], value)
