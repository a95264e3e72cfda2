"""Tables: stable columns, failures included, nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.artifacts import Artifacts, Spec, remove_partials
from studies.storage.folder import StudyFolder
from studies.storage.store import LocalStore
from studies.tables.columns import ANSWERS, CELL_COLUMNS, CURVES, DEVICES, RESULTS
from studies.tables.rows import write_rows
from studies.tables.statistics import clip_interval
from studies.tables.table import (
    read_results,
    write_curves,
    write_failure,
    write_floors,
)
from tokcom_core.storage import atomic_file

from .outcomes import finish, finished_samples


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


def test_a_column_that_the_schema_does_not_know_is_a_mistake(tmp_path: Path) -> None:
    """pyarrow alone would drop it without a word."""
    schema = pa.schema([("a", pa.int64()), ("b", pa.float64())])
    with pytest.raises(AssertionError, match="no columns \\['c'\\]"):
        write_rows(tmp_path / "t.parquet", [{"a": 1}, {"a": 1, "c": 2}], schema)
    with pytest.raises(AssertionError, match="surprise"):
        write_curves(tmp_path / "t.parquet", "alignment", [{"surprise": 1.0}])
    assert not list(tmp_path.iterdir())
    write_rows(tmp_path / "t.parquet", [{"a": 1}], schema)
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [{"a": 1, "b": None}]


def test_every_table_tells_its_cells_apart(study: Study, tmp_path: Path) -> None:
    """Whatever is swept, no table needs another one to say what its rows are of."""
    swept = study.model_copy(update={"bandwidth_hz": (5e6, 1e7), "train_snr_db": (0.0, 10.0)})
    folder = StudyFolder(tmp_path)
    finish(swept, folder, lambda cell, snr_db: 0.6)
    for name, schema in (("curves", CURVES), ("devices", DEVICES), ("answers", ANSWERS)):
        table = pd.read_parquet(tmp_path / name)
        assert list(table.columns) == schema.names
        ours = table[table["method"] == "aligned"]
        assert ours["cell"].nunique() == 8
        conditions = ours.drop_duplicates(list(CELL_COLUMNS)).drop(columns="cell")
        assert not conditions.duplicated([n for n in CELL_COLUMNS if n != "cell"]).any()
        assert set(ours["bandwidth_hz"]) == {5e6, 1e7}
        assert set(ours["train_snr_db"]) == {0.0, 10.0}
        assert set(ours["tokens_audio"]) == {16.0}


def test_answers_are_what_the_results_count(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    results = finish(study, folder, lambda cell, snr_db: 0.6)
    answers = pd.read_parquet(tmp_path / "answers")
    keys = ["cell", "eval_snr_db"]
    counted = answers.groupby(keys)[["exact", "first_token"]].mean().join(results.set_index(keys))
    assert len(counted) == len(results)
    assert counted["exact"].to_numpy() == pytest.approx(counted["accuracy"])
    assert counted["first_token"].to_numpy() == pytest.approx(counted["first_token_accuracy"])
    one = answers[(answers["cell"] == answers["cell"][0]) & (answers["eval_snr_db"].eq(0))]
    asked = finished_samples()
    assert tuple(one["question_id"]) == asked.question_id
    assert tuple(one["video_id"]) == asked.video_id
    assert tuple(one["group"]) == asked.question_type
    assert set(answers["user"]) == {0}
    row = results[(results["cell"] == one["cell"].iloc[0]) & results["eval_snr_db"].eq(0)].iloc[0]
    interval = clip_interval(one["video_id"].tolist(), one["exact"].tolist())
    assert (row["accuracy_low"], row["accuracy_high"]) == (interval.low, interval.high)


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
    from studies.tables.table import _read_floors

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
