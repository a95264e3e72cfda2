"""Budgets that the link cannot carry: rows of the table, beside all cells that run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from studies import compare, summarise
from studies.execution.finished import findings_of
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder

from .outcomes import finish, tables_of
from .small import mlms, write_study

NARROW = "bandwidth_hz 400000 has 1 resource blocks for 3 devices; take 1.08e+06 or more, or access"


def _study(**keys: Any) -> Study:
    return Study(name="s", **{"methods": ["aligned"], "bandwidth_hz": [1e5, 4e5, 5e6], **keys})


def _reasons(plan: Plan) -> dict[tuple[str, float], str]:
    return {(f.cell.method, f.cell.bandwidth_hz): f.reason for f in plan.infeasible()}


def test_the_rest_of_a_grid_is_that_of_a_study_without_its_infeasible_corner() -> None:
    keys = {"tokens": [{"audio": n, "vision": n} for n in (4, 8)], "seeds": [0, 1]}
    rates = mlms(fine_tuning={"learning_rates": [1e-4, 1e-3]})
    plan, rest = (Plan(_study(bandwidth_hz=hz, **keys, **rates)) for hz in ([4e5, 5e6], [5e6]))
    assert len(plan.infeasible()) == len({f.cell.key for f in plan.infeasible()}) == 2 * 2
    assert rest.infeasible() == []
    chosen = dict.fromkeys(plan.candidates(), 1e-3)
    assert plan.known_cells(chosen) == rest.known_cells(chosen)
    assert plan.candidates() == rest.candidates()
    assert plan.features() == rest.features()


def test_reasons_are_those_that_refuse_a_study_of_nothing_else() -> None:
    reasons = _reasons(Plan(_study()))
    assert reasons.keys() == {("aligned", 1e5), ("aligned", 4e5)}
    for (_, bandwidth_hz), reason in reasons.items():
        with pytest.raises(ValueError, match=r"resource blocks for 3 devices") as refusal:
            Plan(_study(bandwidth_hz=bandwidth_hz))
        assert str(refusal.value) == reason
    assert reasons["aligned", 1e5].endswith("for 3 devices; take 1.08e+06 or more")
    assert reasons["aligned", 4e5].startswith(NARROW)


def test_a_deadline_may_be_too_short_at_some_bandwidths() -> None:
    """With policy ``fit``; under ``late`` the miss is recorded."""
    keys = {"bandwidth_hz": [2e6, 5e6, 1e7], "deadline_ms": 1.0}
    assert Plan(_study(**keys)).infeasible() == []
    plan = Plan(_study(**keys, deadline_policy="fit"))
    reasons = _reasons(plan)
    assert reasons.keys() == {("aligned", 2e6), ("aligned", 5e6)}
    assert all(reason.startswith("deadline_ms 1 is too short") for reason in reasons.values())
    assert {f.cell.trained.tokens["audio"] for f in plan.infeasible()} == {16}  # as asked for
    with pytest.raises(ValueError, match="deadline_ms 1 is too short"):
        Plan(_study(**{**keys, "bandwidth_hz": [2e6, 5e6]}, deadline_policy="fit"))


def test_a_budget_may_be_infeasible_for_one_method_alone() -> None:
    """One resource block is enough for a single terminal; image and question have two devices."""
    plan = Plan(
        Study(
            name="s",
            data={"miniclevr": {}},
            task="clevr",
            methods=["taichi", "aligned"],
            tokens=[{"terminal": terminal, "image": 36} for terminal in (36, 9)],
            bandwidth_hz=4e5,
        )
    )
    assert _reasons(plan).keys() == {("aligned", 4e5)}
    assert len(plan.infeasible()) == 1  # the terminal's lengths are not its own
    assert {c.method for c in plan.known_cells({}) if c.reference is None} == {"taichi"}


def test_many_users_may_leave_too_little_to_each() -> None:
    plan = Plan(_study(bandwidth_hz=[5e6, 2e7], emulate={"users_at_once": 10}))
    (reason,) = _reasons(plan).values()
    assert reason.startswith("users_at_once 10 leaves 500000 Hz to each user")


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"tokens": {"audio": 51, "vision": 4}}, "beyond the encoder's 50"),
        ({"methods": [{"name": "aligned", "transport": {"smell": "file"}}]}, "no stream 'smell'"),
        ({"airs": ["awgn"], "link": {"access": "sdma", "antennas": 4}}, "tells users apart"),
    ],
)
def test_mistakes_are_no_budgets(keys: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Plan(_study(**keys))


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    """A finished study with an infeasible bandwidth."""
    study = _study(methods=["aligned", "unaligned"], bandwidth_hz=[4e5, 5e6], eval_snr_db=[0, 10])
    folder = StudyFolder(tmp_path / "out")
    finish(study, folder, lambda cell, snr_db: 0.7 if cell.method == "aligned" else 0.6)
    for found in Plan(study).infeasible():
        tables_of(study, folder).write_infeasible(found.cell, found.reason)
    return folder


def test_infeasible_rows_stand_beside_those_of_finished_cells(folder: StudyFolder) -> None:
    table = findings_of(folder.root).results
    assert table["status"].value_counts().to_dict() == {"ok": 2 * 2 + 2, "infeasible": 2 * 2}
    rows = table[table["status"] == "infeasible"]
    assert rows["reason"].str.startswith(NARROW).all()
    assert set(rows["bandwidth_hz"]) == {4e5} and set(rows["eval_snr_db"]) == {0, 10}
    assert set(rows["tokens_audio"]) == {16}
    unknown = ["accuracy", "airtime_ms", "blind_accuracy", "train_steps", "learning_rate"]
    assert rows[unknown].isna().all(axis=None)
    assert len(pd.read_parquet(folder.results)) == len(table)


def test_summaries_and_comparisons_are_of_what_ran(folder: StudyFolder) -> None:
    summary = summarise(folder.root)
    assert set(summary["bandwidth_hz"]) == {5e6}
    assert summarise(folder.root, "audio_counting")["accuracy"].notna().all()
    found = compare(folder.root, "aligned", "unaligned")
    assert found["bandwidth_hz"].tolist() == [5e6, 5e6]


def test_a_finished_study_goes_on_showing_them_and_has_not_failed(
    folder: StudyFolder, shown: Callable[..., str]
) -> None:
    """``shown`` asserts exit code 0."""
    before = {f: f.stat().st_mtime_ns for f in folder.results.iterdir()}
    said = shown("study", "resume", folder.root, "--retry-failed")
    assert "0 failed cells run again" in said
    assert f"2 of 6 cells are infeasible: {NARROW}" in said
    assert "some cells failed" not in said
    assert {f: f.stat().st_mtime_ns for f in folder.results.iterdir()} == before
    page = (folder.report / "report.html").read_text()
    assert "<h2>Infeasible budgets</h2>" in page and NARROW in page
    assert "Failed cells" not in page


def test_a_plan_names_them(tmp_path: Path, shown: Callable[..., str]) -> None:
    file = write_study(tmp_path / "s.yaml", bandwidth_hz=[4e5, 5e6])
    plan = " ".join(shown("study", "plan", file).split())
    assert "3 cells" in plan
    assert f"1 of 4 cells is infeasible: {NARROW}" in plan


def test_a_study_of_infeasible_budgets_alone_is_refused(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    narrow = "bandwidth_hz=[1e5, 4e5]"
    said = refused("study", "run", "quickstart", "--out", out, "--set", narrow)
    assert said.startswith("tokcom: bandwidth_hz 100000 has 0 resource blocks for 3 devices")
    assert not out.exists()
