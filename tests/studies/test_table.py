"""Tables: stable columns, failures included, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from studies.artifacts import Artifacts, Spec, atomic_file, remove_partials
from studies.cells import Plan
from studies.columns import RESULTS
from studies.folder import StudyFolder
from studies.report import summarise, write_report
from studies.store import LocalStore
from studies.study import Study
from studies.table import (
    read_results,
    wilson_interval,
    write_curves,
    write_failure,
    write_floors,
)


def test_wilson_interval() -> None:
    """Reference values of statsmodels.stats.proportion.proportion_confint(method='wilson')."""
    assert wilson_interval(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-5)
    assert wilson_interval(0, 20)[0] == 0.0
    low, high = wilson_interval(500, 1000)
    assert low == pytest.approx(1 - high)


class NumberSpec(Spec):
    number: int


def test_an_artifact_is_whole_or_absent(tmp_path: Path) -> None:
    artifacts, spec = Artifacts(tmp_path, LocalStore(tmp_path)), NumberSpec(number=1)
    with pytest.raises(RuntimeError), artifacts.write(spec) as partial:
        (partial / "data").write_text("half")
        raise RuntimeError("killed")
    assert not artifacts.has(spec)
    assert not list(tmp_path.iterdir())
    with artifacts.write(spec) as partial:
        (partial / "data").write_text("whole")
    assert artifacts.has(spec)
    assert NumberSpec.model_validate_json((artifacts.path(spec) / "spec.json").read_text()) == spec
    assert NumberSpec(number=2).key != spec.key == NumberSpec(number=1).key


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".tuning-1.99.partial").mkdir()
    (tmp_path / ".x.parquet.99.partial").write_text("half")
    (tmp_path / "kept").mkdir()
    remove_partials(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "f") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


@pytest.fixture
def study() -> Study:
    return Study(name="s", methods=["aligned"], eval_snr_db=[0, 10], seeds=[0, 1])


def test_failures_are_rows(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    cells = Plan(study).cells({"aligned": 1e-3, "blind": 1e-3, "text-oracle": 1e-3})
    for cell in cells:
        write_failure(folder, cell, "out of luck <b>")
    table = read_results(folder, cells)
    assert list(table.columns) == RESULTS.names
    assert len(table) == 2 * 2 + 2 * 2 * 1
    assert set(table["status"]) == {"failed"}
    assert set(table["reason"]) == {"out of luck <b>"}
    assert table["accuracy"].isna().all()
    again = pd.read_parquet(folder.results)
    assert len(again) == len(table)
    assert write_report(folder, table) == []


def test_the_summary_has_intervals_over_seeds(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    cells = Plan(study).cells(dict.fromkeys(("aligned", "blind", "text-oracle"), 1e-3))
    for cell in cells:
        write_failure(folder, cell, "<script>")
        write_curves(
            folder.curves / f"{cell.key}.parquet",
            "fine-tuning",
            [{"task": 1.0, "method": "aligned", "cell": "c"}],
        )  # type: ignore[dict-item]
    table = read_results(folder, cells)
    table = table.assign(
        status="ok",
        accuracy=[0.5 + 0.1 * s for s in table["seed"]],
        tokens_audio=4.0,
        tokens_vision=4.0,
        uplink_channel_uses=100.0,
        blind_accuracy=0.3,
        text_oracle_accuracy=0.9,
    )
    summary = summarise(table)
    aligned = summary[summary["method"] == "aligned"].iloc[0]
    assert aligned["accuracy"] == pytest.approx(0.55)
    half = 12.7062 * 0.0707107 / 2**0.5  # Student's t with one degree of freedom
    assert aligned["half_width"] == pytest.approx(half, abs=1e-3)
    pictures = write_report(folder, table.assign(study="<script>alert(1)</script>"))
    page = (folder.report / "report.html").read_text()
    assert "<script>" not in page
    assert {p.suffix for p in pictures} == {".png", ".html"}
    assert all(p.stat().st_size > 1000 for p in pictures)


def test_a_folder_belongs_to_one_study(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    folder.begin(study)
    assert folder.open() == study
    with pytest.raises(ValueError, match=r"another study \(seeds.* -> .*7.*\); choose another"):
        folder.begin(study.model_copy(update={"seeds": (7,)}))
    with pytest.raises(ValueError, match="no study in"):
        StudyFolder(tmp_path / "empty").open()


def test_floors_reach_the_cells_above_them(tmp_path: Path) -> None:
    from studies.table import _read_floors

    folder = StudyFolder(tmp_path)
    assert _read_floors(folder, 0) == {"blind_accuracy": None, "text_oracle_accuracy": None}
    rows = pd.DataFrame(
        {
            "status": ["ok", "failed"],
            "method": ["blind", "text-oracle"],
            "seed": [0, 0],
            "accuracy": [0.4, 0.0],
        }
    )
    write_floors(folder, rows)
    assert _read_floors(folder, 0) == {"blind_accuracy": 0.4, "text_oracle_accuracy": None}
