"""A finished study grows: what is there already is neither trained nor evaluated again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest

from studies.storage.folder import StudyFolder

from .conftest import tokcom
from .finished import METHODS, table_of


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
