"""Tables: stable columns, failures included, nothing half-written."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas.testing import assert_frame_equal

import studies
from studies.execution.finished import finished
from studies.execution.run import run_study
from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.digests import digests_of
from studies.plan.spec import Spec
from studies.plan.study import Study
from studies.storage.artifacts import Artifacts
from studies.storage.folder import StudyFolder
from studies.storage.store import LocalStore
from studies.tables.columns import VERSION_KEY
from studies.tables.files import Tables
from studies.tables.findings import Findings
from studies.tables.layout import layout_of
from studies.tables.references import read_references, write_references
from studies.tables.rows import read_rows, write_rows
from studies.tables.statistics import clip_interval
from studies.tables.summary import count_answers
from tokcom_core.checkpoints import pocket_folder
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Avqa

from .outcomes import finish, finished_samples, outcome, tables_of


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


@pytest.fixture
def study() -> Study:
    return Study(name="s", methods=["aligned"], eval_snr_db=[0, 10], seeds=[0, 1])


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


def test_a_folder_of_another_version_is_refused_before_anything_runs(
    study: Study, tmp_path: Path
) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    folder.results.mkdir(exist_ok=True)
    tables_of(study, folder).check_version()
    write_rows(folder.results / "cell-1.parquet", [], pa.schema([("a", pa.int64())]))
    with pytest.raises(ValueError, match=r"schema version none, not .* another --out"):
        run_study(study, tmp_path)


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


def test_answers_are_what_the_results_count(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    results = finish(study, folder, lambda cell, snr_db: 0.6)
    answers = pd.read_parquet(tmp_path / "answers")
    keys = ["cell", "eval_snr_db"]
    counted = answers.groupby(keys)[["exact", "first_token"]].mean().join(results.set_index(keys))
    assert len(counted) == len(results)
    assert counted["exact"].to_numpy() == pytest.approx(counted["accuracy"])
    assert counted["first_token"].to_numpy() == pytest.approx(counted["first_token_accuracy"])
    cell = results.loc[results["eval_snr_db"].eq(0), "cell"].iloc[0]
    one = answers[(answers["cell"] == cell) & answers["eval_snr_db"].eq(0)]
    asked = finished_samples()
    assert tuple(one["sample_id"]) == asked.sample_id
    assert tuple(one["media_id"]) == asked.media_id
    assert tuple(one["group"]) == asked.group
    assert set(answers["user"]) == {0}
    row = results[(results["cell"] == cell) & results["eval_snr_db"].eq(0)].iloc[0]
    interval = clip_interval(one["media_id"].tolist(), one["exact"].tolist())
    assert (row["accuracy_low"], row["accuracy_high"]) == (interval.low, interval.high)


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


def test_a_folder_belongs_to_one_study(study: Study, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    folder.begin(study)
    assert folder.open() == study
    with pytest.raises(ValueError, match=r"another study \(seeds.* -> .*7.*\); choose another"):
        folder.begin(study.model_copy(update={"seeds": (7,)}))
    more = {"seeds": (*study.seeds, 7), "description": "more", "device": "cuda"}
    grown = study.model_copy(update=more)
    folder.begin(grown)
    assert folder.open() == grown
    with pytest.raises(ValueError, match=r"another study .*seeds"):
        folder.begin(study)
    with pytest.raises(ValueError, match=r"another study \(.*, and \d+ more\); choose another"):
        folder.begin(Study(name="other", task="clevr", data={"miniclevr": {}}, models="pocket"))
    with pytest.raises(ValueError, match="no study in"):
        StudyFolder(tmp_path / "empty").open()


def test_a_folder_belongs_to_one_version_of_own_code(my_airs: Path, tmp_path: Path) -> None:
    """Else results of earlier code would pass for those of today, or stand beside them."""
    study = Study(name="s", airs=["awgn", {"name": "custom", "class": "my_airs:Nakagami"}])
    folder, file = StudyFolder(tmp_path / "out"), my_airs / "my_airs.py"
    folder.begin(study)
    earlier = file.read_text()
    file.write_text(f"{earlier}# changed\n")
    told = r"my_airs has changed .*; choose another --out, .* remove digests\.json"
    with pytest.raises(ValueError, match=told):
        folder.check(study.model_copy(update={"seeds": (0, 1)}))
    StudyFolder(tmp_path / "other").check(study)
    folder.digests.unlink()
    folder.begin(study)
    file.write_text(earlier)
    with pytest.raises(ValueError, match=told):
        folder.check(study)


def test_a_folder_belongs_to_one_version_of_own_checkpoints_and_scenes(tmp_path: Path) -> None:
    """Else new cells would be of other weights or walls than those beside them."""
    shutil.copytree(pocket_folder() / "language", own := tmp_path / "own")
    (scene := tmp_path / "scene.xml").write_text('<scene><string value="wall.ply"/></scene>')
    (wall := tmp_path / "wall.ply").write_bytes(b"ply")
    study = Study(
        name="s",
        airs=["awgn", {"name": "site", "scene": str(scene), "station_m": [0, 0, 10]}],
        systems={"mlms": {"models": {"language": str(own)}}},
    )
    folder = StudyFolder(tmp_path / "out")
    folder.begin(study)
    for file, name in ((own / "model.safetensors", own), (wall, wall), (scene, scene)):
        earlier = file.read_bytes()
        file.write_bytes(earlier[:-1] + b" ")
        with pytest.raises(ValueError, match=rf"^{name} has changed since .*; choose another"):
            folder.check(study)
        file.write_bytes(earlier)
    folder.check(study)


def test_what_other_code_has_begun_is_not_gone_on_with(my_airs: Path, tmp_path: Path) -> None:
    """Half a training by a method that failed, and half by its fix, would be neither's."""
    folder = StudyFolder(tmp_path / "out")
    folder.begin(Study(name="s"))
    journals = {name: folder.root / "journals" / f"cell-{name}_5dB" for name in "abc"}
    for kept in (folder.root / "checkpoints" / "phase", *journals.values()):
        kept.mkdir(parents=True)
    for name, status in (("a", "ok"), ("b", "failed")):
        pd.DataFrame({"status": [status]}).to_parquet(folder.result(f"cell-{name}"))
    grown = Study(name="s", airs=["awgn", {"name": "custom", "class": "my_airs:Nakagami"}])
    folder.begin(grown)
    assert (folder.root / "checkpoints" / "phase").exists()
    folder.digests.unlink()
    folder.begin(grown)
    assert not (folder.root / "checkpoints").exists()
    assert [name for name, journal in journals.items() if journal.exists()] == ["a"]


def test_a_package_of_ones_own_is_one_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "their_package"
    (package / "deep").mkdir(parents=True)
    for name in ("__init__", "deep/__init__", "deep/of_theirs"):
        (package / f"{name}.py").write_text("")
    names = ["their_package.deep.of_theirs", "their_package"]
    monkeypatch.setattr("studies.plan.digests.modules_of", lambda _: names)
    monkeypatch.syspath_prepend(tmp_path)
    before = digests_of(Study(name="s"))
    assert list(before) == ["their_package"]
    (package / "deep" / "__init__.py").write_text("answer = 42")
    assert digests_of(Study(name="s")) != before


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
    assert_frame_equal(finished(tmp_path).results, whole)
    assert len(studies.summarise(tmp_path)) and len(studies.read(tmp_path, "answers"))
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*")} == before


class Graded(Avqa):
    """Answers are worth 1 or nothing, but questions about the first clip have no score."""

    metrics: ClassVar[tuple[str, ...]] = ("yes_fraction", "mean")
    graded: ClassVar[bool] = True

    def measure(
        self, predicted: Sequence[str], samples: Samples, scores: Sequence[float]
    ) -> dict[str, float]:
        return {"yes_fraction": predicted.count("yes") / len(samples), "mean": np.nanmean(scores)}

    def submission(self, predicted: Sequence[str], samples: Samples) -> list[str]:
        return list(predicted)


def test_scores_of_a_task_that_grades_answers(study: Study, tmp_path: Path) -> None:
    graded = study.model_copy(update={"task": Graded(), "seeds": (0,)})
    tables, (cell, *_) = tables_of(graded, StudyFolder(tmp_path)), Plan(graded).known_cells({})
    whole = outcome(cell, 10.0, 0.6)
    scores = (math.nan, 0.3, *whole.evaluation.scores[2:])
    done = replace(whole, evaluation=replace(whole.evaluation, scores=scores))
    row = done.result_row(tables.layout)
    assert row["accuracy"] == pytest.approx(np.nanmean(scores))
    assert row["test_questions"] == len(scores) - 1
    assert row["score_yes_fraction"] == done.evaluation.predicted.count("yes") / len(scores)
    assert row["score_mean"] == row["accuracy"]
    assert "score_yes_fraction" in tables.layout.results.names
    tables.write_answers(cell, [done])
    answers = tables.read_answers(cell.key)
    assert answers["right"].tolist()[1:3] == [0.3, scores[2]]
    assert np.isnan(answers["exact"][0])
    assert tuple(answers["predicted"]) == done.evaluation.predicted
    counts = count_answers(tables, [cell.key])
    assert (counts["asked"].sum(), counts["right"].sum()) == (len(scores) - 1, np.nansum(scores))
    tables.write_submissions(cell, [done])
    (file,) = (tmp_path / "submissions").iterdir()
    assert file.name == f"{cell.key}_10dB.json"
    assert json.loads(file.read_text()) == list(done.evaluation.predicted)


def test_an_answer_that_nothing_scores_is_not_right(study: Study, tmp_path: Path) -> None:
    """Nor wrong: also of a task whose other answers are right or wrong."""
    tables, (cell, *_) = tables_of(study, StudyFolder(tmp_path)), Plan(study).known_cells({})
    whole = outcome(cell, 10.0, 0.6)
    scores = (math.nan, math.nan, *whole.evaluation.scores[2:])
    tables.write_answers(
        cell, [replace(whole, evaluation=replace(whole.evaluation, scores=scores))]
    )
    assert tables.read_answers(cell.key)["right"].isna().sum() == 2
    counts = count_answers(tables, [cell.key])
    assert (counts["asked"].sum(), counts["right"].sum()) == (len(scores) - 2, np.nansum(scores))
