"""A crowd trains: turns on the air, each user's own samples, and what faults leave out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actors import (
    AlignmentLossConfig,
    Checkpoints,
    Faults,
    InlineEngine,
    Network,
    PeerLostError,
    StreamInput,
    Training,
    UserPopulation,
    share_of,
)
from actors.training.batches import ScheduledSampler
from channel_models import AirBase, Members, named_air

from .conftest import Interrupted, NetworkParts

ALIGN = [
    StreamInput("vision", "align"),
    StreamInput("caption", "align"),
    StreamInput("question", "train"),
]
TASK = [
    StreamInput("vision", "train"),
    StreamInput("audio", "train"),
    StreamInput("question", "train"),
]
SIZES = {"align": 20, "train": 50}
STAGE_1 = Training(steps=4, learning_rate=1e-3, schedule="cosine_with_min_lr")
STAGE_2 = Training(steps=4, learning_rate=1e-3, schedule="linear")


def _flat(members: Members) -> torch.Tensor:
    """User u's channel is u times as good as user 1's, always."""
    return members.users.float()


def _scheduled(
    crowd: UserPopulation, batch_size: int = 12, predict_rates: object = _flat
) -> ScheduledSampler:
    streams = ("vision", "audio", "question")
    return ScheduledSampler(
        crowd, {"train": 60, "align": 33}, batch_size, streams, 2e-3, 7, predict_rates
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("scheduler", ["round-robin", "proportional-fair", "max-sinr"])
def test_everybody_sends_samples_of_their_own(scheduler: str) -> None:
    crowd = UserPopulation(users=10, users_at_once=2, scheduler=scheduler)  # type: ignore[arg-type]
    turns = _scheduled(crowd)
    last_s = 0.0
    for number in range(20):
        turn = turns.turn(number)
        assert turn.members is not None
        users, intervals = turn.members.users, turn.members.intervals
        for rows in turn.rows.values():
            assert len(set(rows)) == len(rows) == 12
            assert [row % 10 for row in rows] == users.tolist()
        assert max(Counter(intervals.tolist()).values()) == 2
        assert (turn.members.starts_s == intervals.double() * 2e-3).all()
        assert turn.emulated_s == pytest.approx(last_s + 6 * 2e-3)
        last_s = turn.emulated_s


def test_turns_are_the_schedulers() -> None:
    """Equal channels: each in turn. The best channels: as often as their samples allow."""
    turns = _scheduled(UserPopulation(users=10, scheduler="round-robin"))
    shares = Counter(u for n in range(10) for u in turns.turn(n).members.users.tolist())  # type: ignore[union-attr]
    assert set(shares.values()) == {12}
    greedy = _scheduled(UserPopulation(users=10, scheduler="max-sinr")).turn(0).members
    assert greedy is not None
    # 33 samples of the smaller split make 4 of users 0 to 2, and 3 of the others.
    assert greedy.users.tolist() == [9] * 3 + [8] * 3 + [7] * 3 + [6] * 3


def test_fair_turns_follow_each_users_own_fading() -> None:
    """Multiuser diversity: whoever sends is better off than they are on average."""
    drawn = torch.empty(400, 10).exponential_(generator=torch.Generator().manual_seed(5))
    mean = torch.linspace(0.5, 5.0, 10)

    def fading(members: Members) -> torch.Tensor:
        faded = drawn[members.intervals % 400, members.users]
        return torch.log2(1 + mean[members.users] * faded)

    turns = _scheduled(UserPopulation(users=10), predict_rates=fading)
    met, users = [], []
    for number in range(30):
        members = turns.turn(number).members
        assert members is not None
        met.append(drawn[members.intervals % 400, members.users])
        users += members.users.tolist()
    assert float(torch.cat(met).mean()) > 1.5
    assert min(Counter(users).values()) > 0.5 * 36


@pytest.mark.parametrize("fatal", [1, 2, 5])
def test_a_turn_half_planned_is_planned_anew(fatal: int) -> None:
    """The base station dies while it is asked about channels; the turns are what they were."""
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
        wanted = calm.turn(number)
        try:
            got = stormy.turn(number)
        except PeerLostError:
            got = stormy.turn(number)
        assert got.rows == wanted.rows
        assert got.members is not None
        assert wanted.members is not None
        assert torch.equal(got.members.intervals, wanted.members.intervals)


def test_who_lacks_a_device_or_is_out_is_silent() -> None:
    crowd = UserPopulation(users=200, lacking_vision=0.25, faults=Faults(offline_prob=0.2, seed=3))
    turns = ScheduledSampler(crowd, {"train": 2000}, 500, ("vision", "question"), 1e-3, 7, _flat)
    turn = turns.turn(0)
    assert turn.members is not None
    share = {name: float(muted.double().mean()) for name, muted in turn.muted.items()}
    assert share["text"] == pytest.approx(0.2, abs=5 * (0.16 / 500) ** 0.5)
    missing = crowd.missing(7)["vision"]
    assert turn.muted["vision"][missing[turn.members.users]].all()
    with pytest.raises(ValueError, match="none of 50 users has samples of every split"):
        ScheduledSampler(
            UserPopulation(users=50), {"a": 0, "b": 9}, 4, ("question",), 1e-3, 7, _flat
        )


def _train(
    parts: NetworkParts,
    crowd: UserPopulation | None,
    folder: Path,
    engine: InlineEngine | None = None,
    air: AirBase | None = None,
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    devices, station = parts
    if crowd is not None:
        station = replace(station, link=share_of(station.link, crowd.users_at_once, 3))
    with Network(devices, station, engine, crowd) as network:
        network.set_channel(air or named_air("umi", speed_mps=3.0), float("nan"))
        stage_1 = Checkpoints(folder / "1", every=2)
        losses = network.align(STAGE_1, AlignmentLossConfig(), ALIGN, SIZES, 8, stage_1)
        network.calibrate(TASK, 50, 20)
        losses += network.fine_tune(STAGE_2, TASK, 50, 8, Checkpoints(folder / "2", every=2))
        scores = network.evaluate(TASK, 50, 20)
        assert len(scores.exact) == 50
        return losses, network.state()


def test_both_stages_train_on_a_cell_and_go_on_where_they_were(
    parts_of: Callable[..., NetworkParts], tmp_path: Path
) -> None:
    crowd = UserPopulation(
        users=12, users_at_once=2, faults=Faults(outage_sinr_db=5.0, offline_prob=0.1)
    )
    losses, state = _train(parts_of(), crowd, tmp_path / "whole")
    assert all(0 <= row["loss_rate_question"] <= 1 for row in losses)
    assert any(row["loss_rate_vision"] > 0 for row in losses)
    assert losses[-1]["emulated_s"] > losses[4]["emulated_s"] > 0
    for answers in (9, 20):
        folder = tmp_path / str(answers)
        with pytest.raises(KeyboardInterrupt):
            _train(parts_of(), crowd, folder, Interrupted(answers))
        again, resumed = _train(parts_of(), crowd, folder)
        assert again == losses
        for name, tensor in state.items():
            assert torch.equal(resumed[name], tensor), name


def test_what_is_not_heard_teaches_nothing(
    parts_of: Callable[..., NetworkParts], tmp_path: Path
) -> None:
    """Nobody is heard at an SINR that nobody has: no weight moves, and no task is learnt."""
    crowd = UserPopulation(users=12, faults=Faults(outage_sinr_db=200.0))
    losses, state = _train(parts_of(), crowd, tmp_path / "deaf")
    for row in losses:
        assert {share for name, share in row.items() if name.startswith("loss_rate")} == {1.0}
        assert "task" not in row
        assert "contrastive_vision" not in row
    devices, station = parts_of()
    with Network(devices, station) as untrained:
        before = untrained.state()
    for name, tensor in before.items():
        if ".outer." not in name:  # which calibration scales
            torch.testing.assert_close(state[name], tensor, msg=name)
