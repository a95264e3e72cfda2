"""One network for all token lengths: what is trained, what is evaluated, what keeps its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import studies
from studies.plan.cells import Plan
from studies.plan.forecast import specs_of
from studies.plan.specs import Cell, PhaseSpec
from studies.plan.workload import workload_of
from studies.storage.folder import StudyFolder

from .here import encoded, run_here
from .small import mlms, small_study

SHORT, LONG = {"audio": 4, "vision": 8}, {"audio": 8, "vision": 4}
ANY = {"name": "aligned", "label": "any", "train_tokens": "any"}


def _plan(**keys: Any) -> Plan:
    return Plan(small_study(**{"methods": ["aligned", ANY], "tokens": [LONG, SHORT], **keys}))


def _cells(plan: Plan, method: str) -> list[Cell]:
    return [cell for cell in plan.known_cells({}) if cell.method == method]


def _phases(plan: Plan, method: str) -> list[PhaseSpec]:
    """Every training of a method once."""
    trained = (spec for cell in _cells(plan, method) for spec in cell.trained.lineage)
    return list({spec.key: spec for spec in trained}.values())


def test_one_network_is_trained_for_all_token_lengths() -> None:
    plan = _plan(seeds=[0, 1])
    assert len(_phases(plan, "aligned")) == 2 * 2 * 2
    trained = _phases(plan, "any")
    assert len(trained) == 2 * 2
    for spec in trained:
        assert spec.any_tokens == spec.definition.any_tokens == (SHORT, LONG)
        assert spec.tokens == {"audio": 8, "vision": 8}  # the longest of each device
        assert workload_of(spec, plan.study).details["tokens_audio"] == 6
    cells = _cells(plan, "any")
    assert [cell.tested.tokens for cell in cells] == [LONG, LONG, SHORT, SHORT]
    assert [workload_of(cell, plan.study).details["tokens_audio"] for cell in cells] == [8, 8, 4, 4]


def test_the_order_of_a_studys_token_lengths_changes_no_network() -> None:
    keys = [
        {spec.key for spec in _phases(_plan(tokens=t), "any")}
        for t in ([LONG, SHORT], [SHORT, LONG])
    ]
    assert keys[0] == keys[1]


def test_all_other_artifacts_keep_their_names() -> None:
    """What tells a network of all token lengths is no part of the others."""
    plan = _plan(methods=["aligned", "unaligned"])
    for spec in specs_of(plan, plan.known_cells({})):
        found = spec.model_dump(mode="json")
        assert "any_tokens" not in spec.model_dump_json()
        assert not isinstance(spec, Cell) or "tokens" not in found
    (again, *_) = _cells(_plan(), "aligned")
    assert again.key == _cells(plan, "aligned")[0].key


def test_of_one_token_length_it_is_the_usual_network() -> None:
    plan = _plan(tokens=[LONG])
    usual, own = (_phases(plan, method) for method in ("aligned", "any"))
    assert [spec.key for spec in usual] == [spec.key for spec in own]


def test_a_phase_that_sends_no_such_tokens_draws_none() -> None:
    own = {"name": "reconstruction", "label": "any", "train_tokens": "any"}
    plan = _plan(methods=["reconstruction", own])
    alignments = [_phases(plan, method)[0] for method in ("reconstruction", "any")]
    assert alignments[0].key == alignments[1].key
    assert _phases(plan, "any")[1].any_tokens == (SHORT, LONG)


def test_it_is_trained_at_what_its_bandwidth_carries() -> None:
    tokens = [{"audio": n, "vision": n} for n in (4, 48)]
    plan = _plan(tokens=tokens, bandwidth_hz=[5e6, 20e6], deadline_ms=2.2, deadline_policy="fit")
    lengths = {
        cell.bandwidth_hz: [tokens["audio"] for tokens in cell.trained.step_tokens]
        for cell in _cells(plan, "any")
    }
    assert lengths[20e6] == [4, 48]
    assert lengths[5e6][0] == 4 < lengths[5e6][1] < 48


def test_systems_of_one_token_length_are_refused() -> None:
    study = small_study(
        data={"miniclevr": {}},
        task="sst2",
        methods={"system": "deepsc", "label": "mine", "train_tokens": "any"},
        tokens=[{}],
    )
    with pytest.raises(ValueError, match=r"method 'mine': train_tokens 'any' .* system deepsc"):
        Plan(study)


def test_the_table_has_it_beside_a_network_for_each(minimusic: Path, tmp_path: Path) -> None:
    study = small_study(
        data={"folder": str(minimusic)}, methods=["aligned", ANY], tokens=[LONG, SHORT]
    )
    table = run_here(study, tmp_path / "out")
    assert set(table["status"]) == {"ok"}
    rows = table[table["method"].isin(["aligned", "any"])].set_index(["method", "tokens_audio"])
    assert rows["tokens_vision"].to_dict() == {
        (method, audio): 12 - audio for method in ("aligned", "any") for audio in (4, 8)
    }
    costs = ["tokens_total", "uplink_channel_uses", "airtime_ms", "downlink_bits", "device_gflop"]
    pd.testing.assert_frame_equal(rows.loc["any", costs], rows.loc["aligned", costs])
    devices = pd.read_parquet(tmp_path / "out" / "devices").query("method == 'any'")
    sent = devices[devices["device"] != "text"].groupby(["tokens_audio", "device"])["tokens"].mean()
    assert sent.to_dict() == {
        (4, "audio"): 4, (4, "vision"): 8, (8, "audio"): 8, (8, "vision"): 4
    }  # fmt: skip
    assert rows.loc[["any"], "task_loss"].nunique() == 2
    compared = studies.compare(tmp_path / "out", "any", "aligned")
    assert sorted(compared["tokens_audio"]) == [4, 8]


def test_users_who_train_it_send_in_intervals_of_the_longest(
    minimusic: Path, tmp_path: Path
) -> None:
    """Batches and times are those of a training at the longest token lengths."""
    emulate = {"users": 6, "duration_s": 0.1, "questions_per_s": 6.0, "trains": True}
    study = small_study(
        data={"folder": str(minimusic)},
        airs=["umi"],
        methods=["aligned", ANY],
        tokens=[SHORT, {"audio": 8, "vision": 8}],
        emulate=emulate,
        **mlms(alignment={"losses": "none"}),
    )
    runner, folder = encoded(study, tmp_path / "out")
    times = {}
    for method in ("aligned", "any"):
        spec = _cells(Plan(study), method)[-1].trained
        runner.run(spec)
        times[method] = _emulated_s(folder, spec)
    assert times["any"] == times["aligned"]


def _emulated_s(folder: StudyFolder, spec: PhaseSpec) -> list[float]:
    curves = pd.read_parquet(folder.artifacts.path(spec) / "curves.parquet")
    return list(curves["emulated_s"])
