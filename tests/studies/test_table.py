"""Tables: stable columns, failures included, nothing half-written."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import studies
from studies.execution.finished import findings_of
from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.columns import VERSION_KEY
from studies.tables.files import Tables
from studies.tables.findings import Findings
from studies.tables.layout import layout_of
from studies.tables.references import read_references, write_references
from studies.tables.rows import read_rows, write_rows

from .outcomes import finish, tables_of


def test_failures_are_rows(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    cells = Plan(study).known_cells({})
    tables = tables_of(study, folder)
    for cell in cells:
        tables.write_failure(cell, "out of luck <b>")
    table = tables.read_results(cells)
    assert list(table.columns) == tables.layout.results.names
    assert len(table) == 2 * 2 + 2 * 2 * 1
    assert set(table["status"]) == {"failed"}
    assert set(table["reason"]) == {"out of luck <b>"}
    assert table["accuracy"].isna().all()
    again = pd.read_parquet(folder.results)
    assert len(again) == len(table)
    (page,) = write_report(Findings(study, tables, table))
    assert "out of luck &lt;b&gt;" in page.read_text()


def test_a_column_that_the_schema_does_not_know_is_a_mistake(study: Study, tmp_path: Path) -> None:
    """pyarrow alone would drop it without a word."""
    schema = pa.schema([("a", pa.int64()), ("b", pa.float64())])
    with pytest.raises(AssertionError, match="no columns \\['c'\\]"):
        write_rows(tmp_path / "t.parquet", [{"a": 1}, {"a": 1, "c": 2}], schema)
    with pytest.raises(AssertionError, match="surprise"):
        tables_of(study, StudyFolder(tmp_path)).write_phase_curves(
            tmp_path / "t.parquet", "alignment", [{"surprise": 1.0}]
        )
    assert not list(tmp_path.iterdir())
    write_rows(tmp_path / "t.parquet", [{"a": 1}], schema)
    assert pq.read_table(tmp_path / "t.parquet").to_pylist() == [{"a": 1, "b": None}]


def test_tables_of_another_schema_version_are_refused(tmp_path: Path) -> None:
    old, new = (pa.schema([("a", pa.int64())], {VERSION_KEY: version}) for version in ("5", "6"))
    write_rows(tmp_path / "t.parquet", [{"a": 1}], old)
    with pytest.raises(ValueError, match=r"schema version 5, not 6; .* another --out"):
        read_rows(tmp_path / "t.parquet", new)
    assert read_rows(tmp_path / "t.parquet", old).to_pylist() == [{"a": 1}]


def test_a_phase_may_have_been_trained_by_another_study(study: Study, tmp_path: Path) -> None:
    """Its file has a column for each loss of that study's systems."""
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    tables, cell = tables_of(study, folder), Plan(study).known_cells({})[-1]
    ours = tables.layout.phase_curves
    names = ("phase", "step", "task")
    theirs = pa.schema([*map(ours.field, names), ("distortion", pa.float64())], ours.metadata)
    step = {"phase": "fine-tuning", "step": 0, "task": 0.5}
    write_rows(tmp_path / "phase.parquet", [step], theirs)
    tables.write_curves(cell, [tmp_path / "phase.parquet"])
    (row,) = tables.read_curves([cell.key])[list(names)].to_dict("records")
    assert row == step


def test_every_table_tells_its_cells_apart(study: Study, tmp_path: Path) -> None:
    """Whatever is swept, no table needs another one to say what its rows are of."""
    swept = study.model_copy(update={"bandwidth_hz": (5e6, 1e7), "train_snr_db": (0.0, 10.0)})
    folder = StudyFolder(tmp_path)
    finish(swept, folder, lambda cell, snr_db: 0.6)
    layout = layout_of(study)
    schemas = {
        "curves": layout.curves,
        "devices": layout.devices_table,
        "answers": layout.answers,
    }
    columns = list(layout.cell_columns)
    for name, schema in schemas.items():
        table = pd.read_parquet(tmp_path / name)
        assert list(table.columns) == schema.names
        ours = table[table["method"] == "aligned"]
        assert ours["cell"].nunique() == 8
        conditions = ours.drop_duplicates(columns).drop(columns="cell")
        assert not conditions.duplicated([n for n in columns if n != "cell"]).any()
        assert set(ours["bandwidth_hz"]) == {5e6, 1e7}
        assert set(ours["train_snr_db"]) == {0.0, 10.0}
        assert set(ours["tokens_audio"]) == {16.0}


def test_a_training_that_has_diverged_is_told(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: Callable[..., str]
) -> None:
    """Its row is one like the others, but its accuracy is that of no method."""
    write = Tables.write_phase_curves

    def diverge(tables: Tables, file: Path, phase: str, losses: Sequence[dict[str, float]]) -> None:
        wild = [{**own, "task": math.nan} if i > 6 else own for i, own in enumerate(losses)]
        write(tables, file, phase, [{}, *wild])

    monkeypatch.setattr(Tables, "write_phase_curves", diverge)
    rows = finish(study, StudyFolder(tmp_path), lambda *_: 0.5)
    told = "task of phase fine-tuning is nan at step 8"
    assert set(rows["status"]) == {"ok"}
    assert set(rows["reason"]) == {told}
    said = " ".join(shown("study", "report", tmp_path).split())
    assert f"training has diverged: aligned on awgn: {told}" in said
    assert said.count(f"aligned on awgn: {told}") == 1


def test_references_reach_the_rows_of_all_others(study: Study, tmp_path: Path) -> None:
    folder, layout = StudyFolder(tmp_path), layout_of(study)
    nothing = {"blind_accuracy": None, "text_oracle_accuracy": None}
    assert read_references(folder, layout, 0) == nothing
    rows = pd.DataFrame(
        {
            "status": ["ok", "failed"],
            "method": ["blind", "text-oracle"],
            "seed": [0, 0],
            "accuracy": [0.4, 0.0],
        }
    )
    write_references(folder, rows, layout)
    assert read_references(folder, layout, 0) == {**nothing, "blind_accuracy": 0.4}
    assert read_references(folder, layout, 1) == nothing


def test_a_reference_that_has_run_again_reaches_rows_that_were_there(
    study: Study, tmp_path: Path
) -> None:
    folder, tables = StudyFolder(tmp_path), tables_of(study, StudyFolder(tmp_path))
    whole = finish(study, folder, lambda cell, snr_db: 0.6)
    ours, blind = whole["method"] == "aligned", whole["method"] == "blind"
    assert whole.loc[ours, "blind_accuracy"].notna().all()
    assert whole.loc[blind, "blind_accuracy"].isna().all()
    cells = Plan(study).known_cells({})
    assert_frame_equal(tables.read_results(cells), whole)
    without = tables.update_references(whole[~blind])
    assert without["blind_accuracy"].isna().all()
    assert without.loc[ours, "text_oracle_accuracy"].notna().all()
    written = tables.read_results(cells)
    assert_frame_equal(written[~blind], without)
    assert_frame_equal(tables.update_references(written), whole)
    assert_frame_equal(tables.read_results(cells), whole)


def test_reading_a_study_writes_nothing(study: Study, tmp_path: Path) -> None:
    """It may be someone else's, or a bucket that may not be written."""
    folder, tables = StudyFolder(tmp_path), tables_of(study, StudyFolder(tmp_path))
    whole = finish(study, folder, lambda cell, snr_db: 0.6)
    (blind,) = whole.loc[whole["method"].eq("blind") & whole["seed"].eq(0), "cell"]
    tables.update_references(whole[whole["cell"] != blind])
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")}
    assert_frame_equal(findings_of(tmp_path).results, whole)
    assert len(studies.summarise(tmp_path)) and len(studies.read(tmp_path, "answers"))
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")} == before
