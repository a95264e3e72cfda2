"""Many users on one air: accounting, resuming, faults, and the same numbers on every engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from torch import Tensor

from actors import (
    Emulation,
    EmulationConfig,
    EmulationSetup,
    Engine,
    Faults,
    InlineEngine,
    Journal,
    RayEngine,
)
from actors.faults import Victims
from channel_models import Frame, Members, Reception, named_air
from channel_models.reception.linear import LinearAir
from tests.local_ray import local_ray

from .conftest import TASK, TOKENS, PartsOf

SMALL = EmulationConfig(users=30, duration_s=0.2, questions_per_s=8.0, batch_size=16, pools=2)

Start = Callable[..., Emulation]


def _config(**keys: Any) -> EmulationConfig:
    return EmulationConfig(**{**SMALL.model_dump(), **keys})


@pytest.fixture
def start(parts_of: PartsOf, tmp_path: Path) -> Start:
    """Starts an emulation in a folder of a given name, on an untrained network."""
    parts = parts_of()
    with parts.network() as network:
        trained = tmp_path / "trained"
        trained.mkdir()
        network.save(trained)
    streams = {s.name: s for s in parts.station.system.streams(TASK, TOKENS)}

    def begin(
        folder: str,
        config: EmulationConfig = SMALL,
        air: str = "umi",
        engine: Engine | None = None,
        encoding_ms: dict[str, float] | None = None,
        **air_settings: Any,
    ) -> Emulation:
        chosen = named_air(air, **air_settings)
        setup = EmulationSetup(
            devices=parts.devices,
            station=parts.station,
            streams=tuple(streams[name] for name in parts.served),
            trained=trained,
            air=chosen,
            snr_db=10.0 if chosen.sets_snr else math.nan,
            split="test",
            samples=20,
            seed=3,
            encoding_ms=encoding_ms or {},
        )
        return Emulation(config, setup, tmp_path / folder, engine)

    return begin


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with local_ray():
        yield


def _run(emulation: Emulation) -> pd.DataFrame:
    with emulation:
        emulation.run()
    return emulation.journal.read()


def test_every_question_is_answered_once_and_the_accounts_add_up(start: Start) -> None:
    emulation = start("a", _config(faults=Faults(outage_sinr_db=5.0), retransmissions=2))
    rows = _run(emulation)
    state = emulation.journal.last()
    assert state is not None
    asked = set(range(len(emulation.traffic)))
    once = rows[rows["stream"] == "question"]
    received = once[once["received"]]
    assert received["request"].is_unique
    assert set(once["request"]) == asked
    assert state.answered == len(received)
    assert state.given_up > 0
    assert state.answered + state.given_up == len(asked)
    assert state.given_up == len(asked - set(received["request"]))
    tries = once.groupby("request").size()
    assert (tries[list(asked - set(received["request"]))] == 3).all()
    assert tries.max() <= 3
    assert state.energy_mj == pytest.approx(rows["energy_mj"].sum())
    assert (rows.groupby("interval")["user"].nunique() <= 1).all()
    assert (once.set_index("request")["start_s"] >= 0).all()
    arrivals = pd.Series(emulation.traffic.arrivals_s)
    assert (once["start_s"].to_numpy() >= arrivals[once["request"]].to_numpy()).all()


@pytest.mark.parametrize("scheduler", ["round-robin", "proportional-fair", "max-sinr"])
def test_what_is_interrupted_goes_on_where_it_was(start: Start, scheduler: str) -> None:
    config = _config(scheduler=scheduler, faults=Faults(outage_sinr_db=5.0))
    whole = _run(start("whole", config))
    with start("parts", config) as first:
        assert first.journal.last() is None
        stops: list[int] = []
        with pytest.raises(KeyboardInterrupt):
            first.run(lambda _, s: stops.append(s.batch) if s.batch < 2 else _interrupt())
    assert_frame_equal(_run(start("parts", config)), whole)


def _interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("batch_size", [1, 16])
def test_what_is_lost_is_sent_again_after_its_feedback(start: Start, batch_size: int) -> None:
    """However few questions a batch holds, and however long nobody else asks."""
    faults = Faults(outage_sinr_db=1000.0)  # nothing is ever received
    keys = {"users": 5, "questions_per_s": 2.0, "duration_s": 1.0, "retransmissions": 2}
    emulation = start("a", _config(**keys, batch_size=batch_size, faults=faults))
    sent = _run(emulation).drop_duplicates(["request", "start_s"])
    assert (sent.groupby("request").size() == 3).all()
    waits_ms = 1e3 * sent.groupby("request")["start_s"].diff().dropna()
    known_ms = 1e3 * emulation.interval_s + SMALL.feedback_ms  # from the end of the interval
    assert (waits_ms > known_ms - 1e-6).all()
    assert waits_ms.median() <= known_ms + 1e3 * emulation.interval_s


def test_a_question_that_stragglers_hold_up_is_sent_again_after_them(start: Start) -> None:
    """The base station waits for them until the deadline: no loss is known before."""
    faults = Faults(straggler_prob=1.0, straggler_ms=1e4, deadline_ms=300.0)
    keys = {"users": 5, "questions_per_s": 2.0, "duration_s": 1.0, "retransmissions": 1}
    sent = _run(start("a", _config(**keys, faults=faults))).drop_duplicates(["request", "start_s"])
    waits_ms = 1e3 * sent.groupby("request")["start_s"].diff().dropna()
    assert len(waits_ms)
    assert (waits_ms >= 300.0 + SMALL.feedback_ms - 1e-6).all()


def test_without_a_device_nothing_is_sent_or_paid(start: Start) -> None:
    rows = _run(start("a", _config(missing_prob={"vision": 0.5}), air="rayleigh"))
    vision = rows[rows["stream"] == "vision"]
    by_user = vision.groupby("user")["sent"]
    assert (by_user.nunique() == 1).all()
    assert 0 < vision["sent"].mean() < 1
    muted = vision[~vision["sent"]]
    assert (muted[["data_channel_uses", "energy_mj", "airtime_ms", "control_bits"]] == 0).all(
        axis=None
    )
    assert rows.loc[rows["stream"] == "audio", "sent"].all()


def test_stragglers_miss_the_deadline_and_outages_come_by_chance(start: Start) -> None:
    faults = Faults(
        deadline_ms=5.0, straggler_prob=0.5, straggler_ms=100.0, offline_prob=0.2, seed=4
    )
    config = _config(faults=faults, questions_per_s=30.0, retransmissions=0)
    rows = _run(start("a", config, air="awgn"))
    sent = rows[rows["sent"]]
    late, out = float(sent["lost"].mean()), float((~rows["sent"]).mean())
    missed = 0.5 * math.exp(-5.0 / 100.0)
    assert late == pytest.approx(missed, abs=5 * math.sqrt(0.25 / len(sent)) + 0.02)
    assert out == pytest.approx(0.2, abs=5 * math.sqrt(0.16 / len(rows)))


def test_the_scheduler_asks_for_the_subcarriers_that_are_then_used(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Devices share the band in the order of their frames."""
    asked: set[tuple[str, ...]] = set()
    sent: set[tuple[str, ...]] = set()
    predict, transmit = LinearAir.predict_snr, LinearAir.transmit

    def predicting(air: LinearAir, senders: Sequence[str], members: Members) -> Tensor:
        asked.add(tuple(senders))
        return predict(air, senders, members)

    def transmitting(air: LinearAir, frames: Sequence[Frame], seed: int) -> list[Reception]:
        sent.add(tuple(frame.sender for frame in frames))
        return transmit(air, frames, seed)

    monkeypatch.setattr(LinearAir, "predict_snr", predicting)
    monkeypatch.setattr(LinearAir, "transmit", transmitting)
    _run(start("asked", _config(duration_s=0.05)))
    assert asked == sent
    assert len(asked) == 1


@pytest.mark.parametrize("batch_size", [4, 5, 6, 64])
def test_no_part_of_the_band_stays_empty_while_somebody_waits(
    start: Start, batch_size: int
) -> None:
    """Whatever the batches: an interval has as many users as may send at once."""
    keys = {"users_at_once": 4, "questions_per_s": 400.0, "duration_s": 0.02}
    rows = _run(start("crowd", _config(batch_size=batch_size, **keys), air="awgn"))
    of_interval = rows.groupby("interval")["request"].nunique()
    busy = of_interval.iloc[4:-8]  # beginning and end apart, everybody waits
    assert len(busy) > 20
    assert (busy == 4).all()


def test_devices_that_encode_slowly_miss_the_deadline(start: Start) -> None:
    config = _config(faults=Faults(deadline_ms=20.0), retransmissions=0)
    in_time = _run(start("fast", config, air="awgn", encoding_ms={"vision": 10.0}))
    late = _run(start("slow", config, air="awgn", encoding_ms={"vision": 20.0}))
    assert not in_time["lost"].any()
    assert late.groupby("stream")["lost"].mean().to_dict() == {
        **dict.fromkeys(late["stream"], 0.0),
        "vision": 1.0,
    }


def test_max_sinr_serves_the_near_first_and_round_robin_all_alike(start: Start) -> None:
    crowded = {"questions_per_s": 60.0, "duration_s": 0.1, "batch_size": 60}
    mean_start: dict[str, float] = {}
    for scheduler in ("max-sinr", "round-robin"):
        config = _config(scheduler=scheduler, **crowded)
        rows = _run(start(scheduler, config, air="umi"))
        once = rows[rows["stream"] == "question"]
        better = once["path_loss_db"] < once["path_loss_db"].median()
        mean_start[scheduler] = float(
            once.loc[better, "start_s"].mean() - once.loc[~better, "start_s"].mean()
        )
    assert mean_start["max-sinr"] < mean_start["round-robin"] - 0.01


def test_pools_and_engines_change_nothing(start: Start, cluster: None) -> None:
    assert (InlineEngine().processes, RayEngine().processes) == (1, 2)
    inline = _run(start("inline", engine=InlineEngine()))
    in_ray = _run(start("ray", engine=RayEngine(deadline_s=120)))
    assert_frame_equal(in_ray, inline)


def test_killed_processes_change_nothing(start: Start, cluster: None) -> None:
    """A pool and the base station die under way; what is answered is what it would have been."""
    calm = _run(start("calm"))
    faults = Faults(pool_crash_prob=0.15, station_crash_prob=0.15, seed=51)
    killed = [faults.victims(batch, SMALL.pools or 0) for batch in range(3)]
    assert killed == [Victims((0,), False), Victims((), True), Victims((), False)]
    emulation = start("storm", _config(faults=faults), engine=RayEngine(deadline_s=120))
    stormy = _run(emulation)
    last = emulation.journal.last()
    assert last is not None
    assert last.batch >= 3  # who dies after it has answered is missed in the next batch
    assert emulation.restarted == 2
    assert_frame_equal(stormy, calm)


def test_what_cannot_be_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="users_at_once 9 leaves 555556 Hz"):
        start("a", _config(users_at_once=9))
    with pytest.raises(ValueError, match=r"batch_size 16 has no room .* 17 .* take 17 or more"):
        _config(users_at_once=17)
    assert _config(users=3, users_at_once=17, batch_size=3).users_an_interval == 3
    with pytest.raises(ValueError, match="one process for all"):
        _run(start("b", _config(faults=Faults(pool_crash_prob=0.5))))
    broken = tmp_path / "c"
    broken.mkdir()
    (broken / "00000001.parquet").write_bytes(b"PAR1")
    for read in (Journal(broken).last, Journal(broken).users, Journal(broken).read):
        with pytest.raises(ValueError, match=r"1\.parquet is damaged; remove it and the"):
            read()
    (broken / "00000001.parquet").rename(broken / "00000002.parquet")
    with pytest.raises(ValueError, match=r"1\.parquet is missing; remove the files after it"):
        Journal(broken).last()
