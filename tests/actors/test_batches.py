"""Many users train: turns on the air, each user's own samples, and what faults leave out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from actors import (
    Checkpoints,
    Faults,
    InlineEngine,
    PeerLostError,
    UserPopulation,
    share_of,
)
from actors.scheduling import RatePredictor
from actors.training.batches import ScheduledSampler, Sending, in_order
from channel_models import Members, named_air
from tokcom_core.systems import devices_of
from tokcom_core.systems.mlms import Mlms

from .conftest import TASK, TOKENS, NetworkParts, PartsOf, check_resumption

STREAMS = {stream.name: stream for stream in Mlms().streams(TASK, TOKENS)}
INTERVAL_S = 2e-3


def _flat(members: Members) -> torch.Tensor:
    """User u's channel is u times as good as user 1's, always."""
    return members.users.float()


def _sending(population: UserPopulation, batch_size: int, *names: str) -> Sending:
    streams = tuple(STREAMS[name] for name in names)
    return Sending(streams, population.missing(7, devices_of(streams)), INTERVAL_S, batch_size)


def _scheduled(
    population: UserPopulation, batch_size: int = 12, predict_rates: RatePredictor = _flat
) -> ScheduledSampler:
    sending = _sending(population, batch_size, "vision", "audio", "question")
    return ScheduledSampler(population, {"train": 60, "align": 33}, sending, 7, predict_rates)


@pytest.mark.parametrize("scheduler", ["round-robin", "proportional-fair", "max-sinr"])
def test_everybody_sends_samples_of_their_own(scheduler: str) -> None:
    population = UserPopulation(users=10, users_at_once=2, scheduler=scheduler)  # type: ignore[arg-type]
    sampler = _scheduled(population)
    last_s = 0.0
    for number in range(20):
        batch = sampler.batch(number)
        assert batch.members is not None
        users, intervals = batch.members.users, batch.members.intervals
        for rows in batch.rows.values():
            assert len(set(rows)) == len(rows) == 12
            assert [row % 10 for row in rows] == users.tolist()
        assert max(Counter(intervals.tolist()).values()) == 2
        assert (batch.members.starts_s == intervals.double() * INTERVAL_S).all()
        assert batch.emulated_s == pytest.approx(last_s + 6 * INTERVAL_S)
        last_s = batch.emulated_s


def test_batches_have_whole_intervals() -> None:
    """Of 14 samples with four users at once, twelve; a batch of three is less than an interval."""
    population = UserPopulation(users=10, users_at_once=4, scheduler="round-robin")
    few = population.model_copy(update={"users": 3})
    for own, size, intervals in (
        (population, 14, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]),
        (population, 3, [0, 0, 0]),
        (few, 8, [0, 0, 0, 1, 1, 1]),
    ):
        members = _scheduled(own, batch_size=size).batch(0).members
        assert members is not None
        assert members.intervals.tolist() == intervals


def test_batches_are_the_schedulers() -> None:
    """Equal channels: each in turn. The best channels: as often as their samples allow."""
    sampler = _scheduled(UserPopulation(users=10, scheduler="round-robin"))
    shares = Counter(u for n in range(10) for u in sampler.batch(n).members.users.tolist())  # type: ignore[union-attr]
    assert set(shares.values()) == {12}
    greedy = _scheduled(UserPopulation(users=10, scheduler="max-sinr")).batch(0).members
    assert greedy is not None
    # 33 samples of the smaller split make 4 of users 0 to 2, and 3 of the others.
    assert greedy.users.tolist() == [9] * 3 + [8] * 3 + [7] * 3 + [6] * 3


def test_fair_batches_follow_each_users_own_fading() -> None:
    """Multiuser diversity: whoever sends is better off than they are on average."""
    drawn = torch.empty(400, 10).exponential_(generator=torch.Generator().manual_seed(5))
    mean = torch.linspace(0.5, 5.0, 10)

    def fading(members: Members) -> torch.Tensor:
        faded = drawn[members.intervals % 400, members.users]
        return torch.log2(1 + mean[members.users] * faded)

    sampler = _scheduled(UserPopulation(users=10), predict_rates=fading)
    met, users = [], []
    for number in range(30):
        members = sampler.batch(number).members
        assert members is not None
        met.append(drawn[members.intervals % 400, members.users])
        users += members.users.tolist()
    assert float(torch.cat(met).mean()) > 1.5
    assert min(Counter(users).values()) > 0.5 * 36


@pytest.mark.parametrize("fatal", [1, 2, 5])
def test_a_batch_half_planned_is_planned_again(fatal: int) -> None:
    """The base station dies while it is asked about channels; the batches are what they were."""
    calls = 0

    drawn = torch.rand(200, 10, generator=torch.Generator().manual_seed(5))

    def fading(members: Members) -> torch.Tensor:
        return drawn[members.intervals, members.users]

    def dies_once(members: Members) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == fatal:
            raise PeerLostError("killed")
        return fading(members)

    # As many intervals in a batch as are not looked at together: some calls come under way.
    calm, stormy = (_scheduled(UserPopulation(users=10), 25, f) for f in (fading, dies_once))
    for number in range(4):
        wanted = calm.batch(number)
        try:
            got = stormy.batch(number)
        except PeerLostError:
            got = stormy.batch(number)
        assert got.rows == wanted.rows
        assert got.members is not None
        assert wanted.members is not None
        assert torch.equal(got.members.intervals, wanted.members.intervals)


def test_who_misses_a_device_or_is_offline_is_muted() -> None:
    population = UserPopulation(
        users=200, missing_prob={"vision": 0.25}, faults=Faults(offline_prob=0.2, seed=3)
    )
    sending = _sending(population, 500, "vision", "question")
    batch = ScheduledSampler(population, {"train": 2000}, sending, 7, _flat).batch(0)
    assert batch.members is not None
    share = {name: float(muted.double().mean()) for name, muted in batch.muted.items()}
    assert share["text"] == pytest.approx(0.2, abs=5 * (0.16 / 500) ** 0.5)
    missing = population.missing(7, ["vision"])["vision"]
    assert 0.15 < float(missing.double().mean()) < 0.35
    assert batch.muted["vision"][missing[batch.members.users]].all()
    with pytest.raises(ValueError, match="none of 50 users has samples of every split"):
        few = UserPopulation(users=50)
        ScheduledSampler(few, {"a": 0, "b": 9}, _sending(few, 4, "question"), 7, _flat)


def test_users_miss_the_same_devices_in_every_phase(parts_of: PartsOf) -> None:
    population = UserPopulation(users=12, missing_prob={"vision": 0.5})
    parts = parts_of()
    missing = population.missing(parts.station.seed, ["vision"])["vision"]
    assert 0 < int(missing.sum()) < 12
    with parts.network(population=population) as network:
        network.set_channel(named_air("awgn"), 10.0)
        for phase in parts.phases(steps=1):
            sizes = {own.split: 24 for own in phase.inputs}
            batch = network._sampler(phase, sizes).batch(0)
            assert batch.members is not None
            assert torch.equal(batch.muted["vision"], missing[batch.members.users])


def test_when_a_sample_is_sent_does_not_depend_on_its_batch() -> None:
    """With few users, every batch would meet the very same channels otherwise."""
    whole = in_order(range(20), 4, 2, INTERVAL_S)
    parts = [in_order(range(start, start + 5), 4, 2, INTERVAL_S) for start in range(0, 20, 5)]
    for name in ("users", "intervals", "starts_s"):
        assert torch.equal(torch.cat([getattr(p, name) for p in parts]), getattr(whole, name))
    assert Counter(whole.intervals.tolist()) == dict.fromkeys(range(10), 2)


def _train(
    parts: NetworkParts,
    population: UserPopulation,
    folder: Path,
    engine: InlineEngine | None = None,
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    share = share_of(parts.station.link, population.users_at_once, len(parts.devices))
    parts = replace(parts, station=replace(parts.station, link=share))
    losses = []
    with parts.network(engine, population) as network:
        network.set_channel(named_air("umi", speed_mps=3.0), float("nan"))
        for phase in parts.phases(steps=4):
            losses += network.train(phase, Checkpoints(folder / phase.name, every=2))
        scores = network.evaluate(parts.served, "train", 20)
        assert len(scores.scores) == 50
        return losses, network.state()


def test_phases_train_on_a_cell_and_go_on_where_they_were(
    parts_of: PartsOf, tmp_path: Path
) -> None:
    population = UserPopulation(
        users=12, users_at_once=2, faults=Faults(outage_sinr_db=5.0, offline_prob=0.1)
    )
    whole = _train(parts_of(), population, tmp_path / "whole")
    losses, _ = whole
    assert all(0 <= row["loss_rate_question"] <= 1 for row in losses)
    assert any(row["loss_rate_vision"] > 0 for row in losses)
    assert losses[-1]["emulated_s"] > losses[4]["emulated_s"] > 0
    check_resumption(partial(_train, parts_of(), population), whole, tmp_path, (9, 20))


def test_what_is_not_received_teaches_nothing(parts_of: PartsOf, tmp_path: Path) -> None:
    """Nobody is received at an SINR that nobody has: no weight moves, and no task is learnt."""
    population = UserPopulation(users=12, faults=Faults(outage_sinr_db=200.0))
    losses, state = _train(parts_of(), population, tmp_path / "deaf")
    for row in losses:
        assert {share for name, share in row.items() if name.startswith("loss_rate")} == {1.0}
        assert "task" not in row
        assert "contrastive_vision" not in row
    with parts_of().network() as untrained:
        before = untrained.state()
    for name, tensor in before.items():
        if ".outer." not in name:  # which calibration scales
            torch.testing.assert_close(state[name], tensor, msg=name)
