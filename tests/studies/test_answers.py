"""The table of answers: what it counts, and what nothing scores."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.statistics import clip_interval
from studies.tables.summary import count_answers
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Avqa

from .outcomes import finish, finished_samples, outcome, tables_of


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
