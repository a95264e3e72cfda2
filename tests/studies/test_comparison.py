"""Two methods are compared on the same questions of the same seeds, in every condition of both."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from studies import compare
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.statistics import mean_interval

from .outcomes import finish

SNRS_DB = (0.0, 10.0)


def _accuracy(cell: Cell, snr_db: float) -> float:
    """Aligned tokens are better with noise, and as good without."""
    better = cell.method == "aligned" and snr_db == 0
    return 0.4 + 0.2 * better + 0.05 * cell.seed


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compared")
    study = Study(
        name="compared",
        methods=["aligned", "unaligned"],
        airs=["awgn"],
        eval_snr_db=list(SNRS_DB),
        tokens=[{"audio": 4, "vision": 4}, {"audio": 16, "vision": 16}],
        seeds=[0, 1, 2],
    )
    finish(study, StudyFolder(folder), _accuracy)
    return folder


def _answers(out: Path, snr_db: float, tokens: float) -> pd.DataFrame:
    """Whether each method answers a question rightly, a row a question and seed."""
    answers = pd.read_parquet(out / "answers")
    own = answers[answers["eval_snr_db"].eq(snr_db) & answers["tokens_audio"].eq(tokens)]
    scores = own.astype({"right": float})
    return scores.pivot_table("right", ["seed", "media_id", "sample_id", "group"], "method")


def test_a_difference_is_that_of_paired_answers(out: Path) -> None:
    found = compare(out, "aligned", "unaligned")
    assert len(found) == 4  # two SNRs and two budgets, never one budget against the other
    for row in found.itertuples():
        right = _answers(out, row.eval_snr_db, row.tokens_audio)
        paired = right["aligned"] - right["unaligned"]
        assert row.difference == pytest.approx(paired.mean())
        assert row.difference == pytest.approx(row.accuracy_first - row.accuracy_second)
        by_clip = paired.groupby(["seed", "media_id"])
        sums, asked = (by_clip.agg(how).unstack().to_numpy() for how in ("sum", "size"))
        interval = mean_interval(sums, asked, lowest=-1)
        assert (row.difference_low, row.difference_high) == (interval.low, interval.high)
        assert row.interval == "seeds and clips"
        assert (row.seeds, row.questions) == (3, len(right))


@pytest.mark.parametrize("same", [True, False])
def test_a_question_counts_as_often_as_it_was_asked(out: Path, tmp_path: Path, same: bool) -> None:
    """Users of an emulation ask some questions again, and may then get another answer.

    The same answers again are no further evidence to McNemar's test.
    """
    again = shutil.copytree(out, tmp_path / "again")
    for file in (again / "answers").glob("cell-*.parquet"):
        answers = pq.read_table(file)
        first = answers.slice(0, 7)
        right = pa.array([own == same for own in first["right"].to_pylist()])
        turned = first.set_column(first.schema.get_field_index("right"), "right", right)
        pq.write_table(pa.concat_tables([answers, turned.cast(answers.schema)]), file)
    found = compare(again, "aligned", "unaligned")
    every = pd.read_parquet(again / "answers").astype({"right": float})
    for row in found.itertuples():
        own = every[every["eval_snr_db"].eq(row.eval_snr_db)]
        own = own[own["tokens_audio"].eq(row.tokens_audio)]
        means = own.groupby("method")["right"].mean()
        assert (row.accuracy_first, row.accuracy_second) == pytest.approx(
            (means["aligned"], means["unaligned"])
        )
        assert row.questions == len(own) / 2
    before = compare(out, "aligned", "unaligned")["mcnemar_p"].tolist()
    assert (found["mcnemar_p"].tolist() == before) == same


def test_mcnemars_p_is_the_binomial_tail_of_the_answers_that_differ(out: Path) -> None:
    noisy, quiet = (
        compare(out, "aligned", "unaligned").query(f"eval_snr_db == {snr_db}").iloc[0]
        for snr_db in SNRS_DB
    )
    assert quiet["difference"] == 0 and quiet["mcnemar_p"] == [1.0, 1.0, 1.0]
    right = _answers(out, 0.0, noisy["tokens_audio"])
    for p, (_, own) in zip(noisy["mcnemar_p"], right.groupby("seed"), strict=True):
        better = int((own["aligned"] > own["unaligned"]).sum())
        worse = int((own["aligned"] < own["unaligned"]).sum())
        tail = sum(
            math.comb(better + worse, k) for k in range(max(better, worse), 1 + better + worse)
        )
        assert p == pytest.approx(min(1.0, 2 * tail / 2 ** (better + worse)))


def test_the_difference_turns_with_the_methods(out: Path) -> None:
    one, other = compare(out, "aligned", "unaligned"), compare(out, "unaligned", "aligned")
    assert one["difference"].tolist() == pytest.approx((-other["difference"]).tolist())
    assert one["mcnemar_p"].tolist() == other["mcnemar_p"].tolist()


def test_a_group_of_questions_is_compared_alone(out: Path) -> None:
    row = compare(out, "aligned", "unaligned", "audio_counting").iloc[0]
    own = _answers(out, row["eval_snr_db"], row["tokens_audio"]).query("group == 'audio_counting'")
    assert row["questions"] == len(own) > 0
    assert row["accuracy_first"] == pytest.approx(own["aligned"].mean())


def test_the_screen_shows_what_was_found(out: Path, shown: Callable[..., str]) -> None:
    text = shown("study", "compare", out, "aligned", "unaligned")
    row = compare(out, "aligned", "unaligned").iloc[0]
    assert f"{row['difference']:+.3f}".replace("0.", ".", 1) in text
    assert "over seeds and clips" in text and "4+4" in text and "16+16" in text


def test_differences_of_fewer_seeds_are_marked(
    out: Path, shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compare(out, "aligned", "unaligned")
    mixed = found.assign(interval=["clips", *found["interval"][1:]])
    monkeypatch.setattr("studies.compare", lambda *_: mixed)
    text = shown("study", "compare", out, "aligned", "unaligned")
    assert text.count("]*") == 1 and "where marked *, over clips alone" in text


def test_a_reference_is_compared_with_every_condition(out: Path) -> None:
    found = compare(out, "aligned", "blind")
    assert len(found) == 4
    answers = pd.read_parquet(StudyFolder(out).answers)
    blind = answers[answers["method"] == "blind"].set_index(["seed", "sample_id"])["right"]
    for row in found.itertuples():
        right = _answers(out, row.eval_snr_db, row.tokens_audio)["aligned"]
        own = right.reset_index().set_index(["seed", "sample_id"])["aligned"]
        assert row.difference == pytest.approx((own - blind).mean())
        assert row.accuracy_second == pytest.approx(blind.mean())
    back = compare(out, "blind", "aligned")
    assert back["difference"].tolist() == pytest.approx((-found["difference"]).tolist())
    (both,) = compare(out, "text-oracle", "blind").itertuples()
    assert (both.air, both.difference) == ("awgn", 0.0)


def test_what_cannot_be_compared_is_refused(out: Path, refused: Callable[..., str]) -> None:
    said = refused("study", "compare", out, "alined", "unaligned")
    assert "no finished cell of the method 'alined'; there are: aligned, blind" in said
    said = refused("study", "compare", out, "aligned", "aligned")
    assert said == "tokcom: the two sides are the same: aligned"
    said = refused("study", "compare", out, "aligned", "unaligned", "--part", "counting")
    assert "no part or group 'counting'" in said and "audio_counting" in said


def test_networks_that_differ_by_chance_alone_differ_by_nothing_that_is_shown() -> None:
    """Of differences that are noise, 5 % are outside of their interval, whatever clips share."""
    rng, trials, outside = np.random.default_rng(2), 200, 0
    for _ in range(trials):
        shared = rng.normal(0, 1.5, (1, 60))
        right = rng.binomial(6, 1 / (1 + np.exp(-shared)), (2, 6, 60))
        interval = mean_interval(right[0] - right[1], np.full((6, 60), 6), lowest=-1)
        outside += not interval.low <= 0 <= interval.high
    assert outside / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
