"""A finished study grows: what is there already is neither trained nor evaluated again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import studies
from studies.execution.finished import remove_outgrown
from studies.plan.cells import Plan
from studies.plan.growth import outgrown
from studies.storage.folder import StudyFolder
from studies.tables.columns import VERSION_KEY
from studies.tables.files import Tables
from studies.tables.layout import layout_of

from .conftest import tokcom
from .finished import METHODS, table_of
from .outcomes import finish
from .small import mlms, small_study


@pytest.fixture(scope="module")
def grown(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A finished study to which an SNR and two deadlines have been added."""
    copy = StudyFolder(shutil.copytree(finished, tmp_path_factory.mktemp("grown") / "copy"))
    axes = ("--set", "eval_snr_db=[0, 10, 20]", "--set", "deadline_ms=[3.0, 0.5, null]")
    done = tokcom("study", "run", copy.config, "--out", copy.root, *axes)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


def test_a_finished_study_grows_by_an_snr_without_training(
    finished: Path, grown: StudyFolder
) -> None:
    """Every row that was there is there again, once, and new ones beside it."""
    before, after = (
        sorted(path.name for path in StudyFolder(root).artifacts.root.iterdir())
        for root in (finished, grown.root)
    )
    assert after == before
    names = ["method", "air", "eval_snr_db"]
    table = table_of(grown.root)
    other = table["method"].isin(METHODS) & table["deadline_ms"].ne(3.0)
    tables = (table_of(finished), table[~other])
    old, new = (t.fillna({"eval_snr_db": -1}).set_index(names).sort_index() for t in tables)
    assert new.index.is_unique
    assert set(new.index.levels[2]) - set(old.index.levels[2]) == {20.0}
    same = new.loc[old.index].drop(columns="cell")
    pd.testing.assert_frame_equal(same, old.drop(columns="cell"))
    for folder in (grown.answers, grown.devices, grown.curves):
        assert {f.stem for f in folder.iterdir()} == {f.stem for f in grown.results.iterdir()}


def test_a_finished_study_grows_by_a_deadline_without_an_evaluation(grown: StudyFolder) -> None:
    """A question that comes late is the same question: the answers of one deadline are copied."""
    table = table_of(grown.root)
    ours = table[table["method"].isin(METHODS)]
    by_deadline = ours.groupby("deadline_ms", dropna=False)
    assert by_deadline.size().nunique() == 1
    assert by_deadline["accuracy"].mean().nunique() == 1
    assert by_deadline["meets_deadline"].mean().to_list()[0] == 0
    evaluated = {f.stem for f in grown.usage.iterdir()} & set(table["cell"])
    assert ours.loc[ours["cell"].isin(evaluated), "deadline_ms"].nunique(dropna=False) == 1


def _stems(folder: StudyFolder) -> list[set[str]]:
    tables = (folder.results, folder.answers, folder.devices, folder.curves)
    return [{file.stem for file in table.iterdir()} for table in tables]


def test_results_that_growth_does_not_explain_are_told_and_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of another version of tokcom, whose cells have other keys."""
    study, folder = small_study(), StudyFolder(tmp_path / "out")
    finish(study, folder, lambda *_: 0.5)
    studies.read(folder.root)
    assert not caplog.messages
    cell = next(c for c in Plan(study).known_cells({}) if c.reference is None)
    other = cell.model_copy(update={"max_answer_tokens": 3, "eval_snr_db": (7.0,)})
    result = pd.read_parquet(folder.result(cell.key)).assign(config=other.model_dump_json())
    for table in (folder.answers, folder.devices, folder.curves):
        shutil.copy(table / f"{cell.key}.parquet", table / f"{other.key}.parquet")
    result.to_parquet(folder.result(other.key))
    (folder.results / "cell-damaged.parquet").write_text("no parquet")
    before = _stems(folder)
    rows = studies.read(folder.root)
    assert other.key not in set(rows["cell"])
    (said,) = caplog.messages
    assert said == (
        f"{folder.root}/results: 2 of 5 files belong to no cell of this study (other settings, "
        "or another version of tokcom)"
    )
    studies.run(study, folder.root)
    assert _stems(folder) == before


def test_curves_of_another_version_do_not_end_a_run(tmp_path: Path) -> None:
    """They stay in the folder beside the study's own, with other columns or none of them."""
    claim = {"better": "aligned", "than": "unaligned", "measure": "training_loss"}
    study = small_study(methods=["aligned", "unaligned"], claims=[claim])
    folder = StudyFolder(tmp_path / "out")
    finish(study, folder, lambda *_: 0.5)
    own = studies.read(folder.root, "curves")
    file = next(folder.curves.iterdir())
    older = pq.read_table(file).replace_schema_metadata({VERSION_KEY: b"10"})
    pq.write_table(older, file.with_stem("cell-older"))
    pq.write_table(pq.read_table(file).drop_columns(["task"]), file.with_stem("cell-other"))
    file.with_stem("cell-damaged").write_text("no parquet")
    for name in ("cell-older", "cell-other", "cell-damaged"):
        (folder.results / f"{name}.parquet").write_text("of another version")
    studies.run(study, folder.root)
    assert file.with_stem("cell-older").exists()
    pd.testing.assert_frame_equal(studies.read(folder.root, "curves"), own)
    assert set(studies.judge(folder.root)["verdict"]) == {"not shown"}


def test_results_of_fewer_snrs_go_once_those_of_more_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study, folder = small_study(eval_snr_db=[10]), StudyFolder(tmp_path / "out")
    finish(study, folder, lambda *_: 0.5)
    old = {cell.key for cell in Plan(study).known_cells({}) if cell.reference is None}
    grown = small_study(eval_snr_db=[0, 10])
    folder.begin(grown)
    studies.read(folder.root)
    assert all(old <= stems for stems in _stems(folder))
    finish(grown, folder, lambda *_: 0.5)
    studies.run(grown, folder.root)
    new = {cell.key for cell in Plan(grown).known_cells({})}
    assert all(stems == new for stems in _stems(folder))
    assert not caplog.messages


def test_results_of_fewer_snrs_stay_if_those_of_more_have_failed(tmp_path: Path) -> None:
    study, folder = small_study(eval_snr_db=[10]), StudyFolder(tmp_path / "out")
    finish(study, folder, lambda *_: 0.5)
    old = {cell.key for cell in Plan(study).known_cells({}) if cell.reference is None}
    grown = small_study(eval_snr_db=[0, 10])
    folder.begin(grown)
    tables = Tables(folder, layout_of(grown))
    for cell in Plan(grown).known_cells({}):
        tables.write_failure(cell, "out of memory")
    studies.run(grown, folder.root)
    assert old <= {file.stem for file in folder.answers.iterdir()}


def _validate(plan: Plan, folder: StudyFolder, losses: dict[tuple[float, int], float]) -> None:
    """Writes the validations of all methods, given the loss at each learning rate and seed."""
    for spec in (spec for specs in plan.candidates().values() for spec in specs):
        rate = spec.trained.definition.training.learning_rate
        file = folder.artifacts.path(spec) / "validation.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"loss": losses[rate, spec.trained.seed]}))


def test_results_of_a_learning_rate_go_once_those_of_another_are_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """More seeds have turned the choice; until then the old ones stay."""
    rates = mlms(fine_tuning={"learning_rates": [0.001, 0.01]})
    study, grown = (small_study(seeds=seeds, **rates) for seeds in ([0], [0, 1]))
    folder = StudyFolder(tmp_path / "out")
    losses = {(0.01, 0): 0.2, (0.001, 0): 0.3, (0.01, 1): 0.9, (0.001, 1): 0.3}
    _validate(Plan(study), folder, losses)
    finish(study, folder, lambda *_: 0.5)
    old = studies.read(folder.root)
    assert set(old["learning_rate"]) == {0.01}
    folder.begin(grown)
    _validate(Plan(grown), folder, losses)
    remove_outgrown(Plan(grown), folder, old[:0])
    assert all(stems == set(old["cell"]) for stems in _stems(folder))
    finish(grown, folder, lambda *_: 0.5)
    studies.run(grown, folder.root)
    new = studies.read(folder.root)
    assert set(new["learning_rate"]) == {0.001}
    assert all(stems == set(new["cell"]) for stems in _stems(folder))
    assert not caplog.messages


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"bandwidth_hz": [5e6]}, {"bandwidth_hz": [2.5e6, 5e6]}),
        ({"digital": {"bits": [16]}}, {"digital": {"bits": [4, 16]}}),
    ],
)
def test_results_that_only_follow_the_first_swept_value_go_with_it(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    """References have the first bandwidth, methods without packets the first number of bits."""
    files = {"name": "unaligned", "label": "files", "transport": {"vision": "file"}}
    methods = {"methods": ["aligned", "digital", files]}
    study, grown = (small_study(**methods, **keys) for keys in (before, after))
    folder = StudyFolder(tmp_path / "out")
    finish(study, folder, lambda *_: 0.5)
    old = {cell.key for cell in Plan(study).known_cells({})}
    finish(grown, folder, lambda *_: 0.5)
    studies.run(grown, folder.root)
    new = {cell.key for cell in Plan(grown).known_cells({})}
    assert old - new
    assert all(stems == new for stems in _stems(folder))
    assert not caplog.messages


def test_a_cell_is_outgrown_by_more_token_lengths_and_another_rate() -> None:
    """Of one network for all lengths; of a choice of rates that more seeds have turned."""
    rates = mlms(fine_tuning={"learning_rates": [0.001, 0.01]})["systems"]
    method = {"name": "aligned", "label": "any", "train_tokens": "any"}
    lengths = [{"audio": n, "vision": n} for n in (2, 4)]
    keys: dict[str, Any] = {"methods": ["aligned", method], "systems": rates}
    before = Plan(small_study(**keys, tokens=lengths[:1]))
    after = Plan(small_study(**keys, tokens=lengths))
    names = {contender.label: 0.01 for contender in before.contenders}
    configs = {cell.key: cell.model_dump_json() for cell in before.known_cells(names)}
    assert outgrown(after, configs) == set(configs)
    shorter = {"a": json.dumps({**json.loads(next(iter(configs.values()))), "questions": 5})}
    assert not outgrown(after, shorter)
