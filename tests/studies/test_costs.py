"""What a question costs in time, and training on the air, reckoned by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actors.step_reports import step_costs
from channel_models import Link, named_air
from channel_models.testing import frame
from studies.plan.cells import Plan
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.costs import ebn0_db
from studies.tables.layout import layout_of
from studies.tables.training import longest_step, training_columns
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa

from .outcomes import emulated, finish, outcome, tables_of
from .small import write_study

SPEEDS = {"device_gflops": 50.0, "station_gflops": 10.0}
AIRTIME_MS = 1.0
"""Of every outcome here."""


def _row(**keys: Any) -> dict[str, Any]:
    """The row of the only method of a study, whose question is 8 tokens long."""
    study = Study(name="s", tokens={"audio": 4, "vision": 4}, **{"methods": ["aligned"], **keys})
    cell = Plan(study).known_cells({})[-1]
    return outcome(cell, 10.0, 0.6).result_row(layout_of(study))


def test_latency_is_encoding_airtime_and_answering() -> None:
    """Devices compute at the same time.

    Receivers have two matrices of 128 x 1024 weights, the pocket language model 793,600 in its
    layers and their adapter, and 10,240 in its head.
    """
    sent = {"audio": 4, "vision": 4}
    audio, vision = (Mlms().device_gflop(Avqa(), d, sent, {d: 1.0}, sent) for d in sent)
    answering = 2e-9 * ((2 * 128 * 1024 + 793_600) * (4 + 4 + 8) + 10_240)
    row = _row(compute=SPEEDS, deadline_ms=6.0)
    assert row["device_gflop"] == pytest.approx(audio + vision)
    assert row["bs_gflop"] == pytest.approx(answering)
    assert row["device_ms"] == pytest.approx(1e3 * vision / 50)
    assert row["station_ms"] == pytest.approx(1e3 * answering / 10)
    assert row["latency_ms"] == row["device_ms"] + AIRTIME_MS + row["station_ms"]
    assert 6.0 < row["latency_ms"] < 6.5
    assert not row["meets_deadline"]
    assert _row(compute=SPEEDS, deadline_ms=6.5)["meets_deadline"]


def test_a_round_trip_before_a_retransmission_makes_a_question_late() -> None:
    study = Study(name="s", tokens={"audio": 4, "vision": 4}, methods=["aligned"], deadline_ms=5.0)
    found = outcome(Plan(study).known_cells({})[-1], 10.0, 0.6)
    for waiting_ms in (0.0, 8.0):
        evaluation = replace(found.evaluation, waiting_ms=waiting_ms)
        row = replace(found, evaluation=evaluation).result_row(layout_of(study))
        assert row["airtime_ms"] == AIRTIME_MS
        assert row["latency_ms"] == AIRTIME_MS + waiting_ms
        assert row["meets_deadline"] == (waiting_ms == 0)


def test_without_speeds_computing_takes_no_time() -> None:
    row = _row(deadline_ms=1.0)
    assert (row["device_ms"], row["station_ms"]) == (0.0, 0.0)
    assert row["latency_ms"] == row["airtime_ms"] == AIRTIME_MS
    assert row["meets_deadline"]
    fast = _row(deadline_ms=1.0, compute={"device_gflops": 50})
    assert fast["station_ms"] == 0 < fast["device_ms"]
    assert not fast["meets_deadline"]


def test_files_are_encoded_at_the_station() -> None:
    usual, uploaded = (_row(compute=SPEEDS, methods=[name]) for name in ("aligned", "raw-upload"))
    assert uploaded["device_ms"] == 0
    moved = 1e3 * usual["device_gflop"] / 10
    assert uploaded["station_ms"] == pytest.approx(usual["station_ms"] + moved)


@pytest.mark.parametrize("key", ["compute.device_gflops", "compute.station_gflops"])
@pytest.mark.parametrize("value", ["-1", "0", ".inf"])
def test_a_speed_that_is_none_is_refused(
    key: str, value: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = write_study(tmp_path / "s.yaml")
    line = refused("study", "plan", file, "--set", f"{key}={value}")
    assert key in line and "should be" in line


def _step(phase: str, **costs: float) -> dict[str, Any]:
    return {"phase": phase, "samples": 8, "uplink_bits": 96.0, "gradient_bits": 1e3, **costs}


def test_training_costs_what_its_steps_send() -> None:
    """13 resource blocks: 48 subcarriers for each device, 14 OFDM symbols in half a millisecond.

    256 symbols are 6 of them and two pilots, 512 are 11 and two.
    """
    cell = Plan(Study(name="s", methods=["aligned"])).known_cells({})[-1]
    sent = {"channel_uses_audio": 256.0, "channel_uses_vision": 256.0}
    steps = [
        _step("alignment", channel_uses_caption=512.0, channel_uses_question=None, **sent),
        *[_step("fine-tuning", channel_uses_question=512.0, **sent)] * 3,
    ]
    found = training_columns(cell, steps)
    symbol_ms, power_w = 0.5 / 14, 10**2.3 / 1e3
    assert found == pytest.approx(
        {
            "train_channel_uses": 4 * 8 * 1024,
            "train_airtime_s": 4 * 8 * 13 * symbol_ms / 1e3,
            "train_energy_j": 4 * 8 * power_w * (8 + 8 + 13) * symbol_ms / 1e3,
            "train_uplink_bits": 4 * 8 * 96,
            "train_downlink_bits": 4 * 8 * 1e3,
        }
    )
    weak = training_columns(cell, [{**step, "tx_power_dbm": 13.0} for step in steps])
    assert weak == pytest.approx({**found, "train_energy_j": found["train_energy_j"] / 10})


def test_energy_of_training_follows_power_control() -> None:
    """Of devices that differ in what they send at and how long, as each transmission's own."""
    link = Link()
    air = named_air("umi", p0_dbm=-95.0, drop_seed=0).build(link, math.nan)
    frames = [frame(name, symbols=n) for name, n in (("a", 100), ("b", 1024), ("c", 4000))]
    frames = [replace(own, valid=torch.ones_like(own.valid)) for own in frames]
    got = air.transmit(frames, 3)
    costs = step_costs(frames, got, {})
    full = link.model_copy(update={"tx_power_dbm": costs["tx_power_dbm"]})
    uses = [cost.overhead.data_channel_uses for cost in got]
    energy_mj = sum(cost.energy_mj for cost in full.costs(uses, devices=3))
    assert energy_mj == pytest.approx(sum(cost.overhead.energy_mj for cost in got))


def test_training_by_many_users_takes_emulated_time() -> None:
    emulate = {"users_at_once": 2, "trains": True}
    cell = Plan(Study(name="s", methods=["aligned"], emulate=emulate)).known_cells({})[-1]
    sent = {"channel_uses_audio": 256.0, "channel_uses_vision": 256.0}
    steps = [_step("fine-tuning", emulated_s=s, **sent) for s in (0.5, 1.25)]
    found = training_columns(cell, steps)
    assert found["train_airtime_s"] == 1.25
    on_two_blocks = 2 * (256 / 24 // 1 + 1 + 2) * 0.5 / 14  # of 6 for each user's three devices
    assert found["train_energy_j"] == pytest.approx(2 * 8 * 10**2.3 / 1e6 * on_two_blocks)


def test_a_phase_that_does_not_cross_the_air_costs_nothing() -> None:
    """Of TaiChi the first two do not, whatever their steps report."""
    study = Study(name="s", data={"miniclevr": {}}, task="clevr", methods=["taichi"])
    cell = Plan(study).known_cells({})[-1]
    *_, coding = cell.trained.lineage
    crosses = [spec.phase for spec in cell.trained.lineage if spec.crossing is not None]
    assert coding.phase in crosses
    assert len(crosses) == len(cell.trained.lineage) - 2
    for spec in cell.trained.lineage:
        longest = [{"phase": spec.phase, **longest_step(spec, cell.crossing.link)}]
        cost = training_columns(cell, longest)["train_channel_uses"]
        assert (cost > 0) == (spec.crossing is not None)


def test_cells_that_differ_in_their_deadline_alone_share_an_evaluation(tmp_path: Path) -> None:
    """Only whether they meet it differs, and what tells cells apart."""
    folder = StudyFolder(tmp_path)
    study = Study(name="s", methods=["aligned"], deadline_ms=2.0, eval_snr_db=[0, 10])
    finish(study, folder, lambda cell, snr_db: 0.6)
    grown = study.model_copy(update={"deadline_ms": (2.0, 0.5, None)})
    folder.begin(grown)
    tables = tables_of(grown, folder)
    source, *others = (c for c in Plan(grown).known_cells({}) if c.reference is None)
    for cell in others:
        assert cell.evaluation == source.evaluation
        tables.copy(source, cell)
    table = tables.read_results([source, *others])
    assert table["versions"].nunique() == 1
    assert '"device": "Card"' in table["versions"][0]
    met = table.fillna({"deadline_ms": math.inf}).groupby("deadline_ms")["meets_deadline"].unique()
    assert {key: value.tolist() for key, value in met.items()} == {
        0.5: [False],
        2.0: [True],
        math.inf: [True],
    }
    for cell in others:
        _same_but_for_the_deadline(tables_of(grown, folder), source, cell)


def _same_but_for_the_deadline(tables: Any, source: Cell, cell: Cell) -> None:
    apart = ["cell", "deadline_ms", "meets_deadline", "late_fraction", "config"]
    for read in (
        lambda own: tables.read_results([own]),
        lambda own: tables.read_answers(own.key),
        lambda own: tables.read_devices(own.key),
    ):
        before, after = read(source), read(cell)
        assert set(after["cell"]) == {cell.key}
        assert before.drop(columns=apart, errors="ignore").equals(
            after.drop(columns=apart, errors="ignore")
        )


def test_cells_that_share_an_emulation_judge_its_questions_by_their_own_deadline(
    tmp_path: Path,
) -> None:
    """The mean latency meets two of them; two questions were never answered."""
    emulate = {"users": 7}
    study = Study(name="s", methods=["aligned"], emulate=emulate, deadline_ms=[1.0, 200.0, 400.0])
    folder = StudyFolder(tmp_path)
    finish(study, folder, lambda cell, snr_db: 0.6)
    tables = tables_of(study, folder)
    first, *others = (c for c in Plan(study).known_cells({}) if c.reference is None)
    found = outcome(first, 10.0, 0.6)
    asked = len(found.asked)
    latencies_ms: list[float | None] = [100.0] * asked
    latencies_ms[:10] = [None, None, *[390.0] * 8]
    tables.write_answers(first, [emulated(found, latencies_ms)])
    tables.write_results(first, [emulated(found, latencies_ms)], 1.0)
    for cell in others:
        tables.copy(first, cell)
    rows = tables.read_results([first, *others]).set_index("deadline_ms")
    assert rows["late_fraction"].tolist() == pytest.approx([1.0, 10 / asked, 2 / asked])
    assert rows["meets_deadline"].tolist() == [False, False, True]
    answers = tables.read_answers(others[0].key)
    assert answers["latency_ms"].isna().sum() == 2
    assert answers["latency_ms"].eq(390.0).sum() == 8
    (folder.answers / f"{first.key}.parquet").unlink()
    with pytest.raises(ValueError, match=r"for another deadline is not known; remove .* as w"):
        tables.copy(first, others[0])


def test_eb_n0_is_that_of_packets_alone() -> None:
    """A question of 320 bits in 286 symbols beside tokens that are no bits."""
    study = Study(name="s", tokens={"audio": 4, "vision": 4}, methods=["aligned"])
    found = outcome(Plan(study).known_cells({})[-1], 10.0, 0.6)
    streams = dict(found.evaluation.streams)
    question = streams["question"]
    costs = replace(question.overhead, data_channel_uses=286.0, payload_bits=320.0)
    streams["question"] = replace(question, overhead=costs, realised_snr_db=7.0)
    assert ebn0_db(list(streams.values())) == pytest.approx(7.0 - 10 * math.log10(320 / 286))
    assert ebn0_db([streams["audio"]]) is None
