"""The interval of an accuracy holds what it says, whatever questions about one clip share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, sem, t

from studies.tables.statistics import (
    clip_interval,
    expected_half_width,
    mean_interval,
    needed_for,
)

Counts = NDArray[np.int64]
TRIALS = 300
THREE_ERRORS = 3 * math.sqrt(0.95 * 0.05 / TRIALS)


def _answers(
    rng: np.random.Generator,
    seeds: int,
    clips: int,
    per_clip: int,
    seed_spread: float,
    clip: NDArray[np.float64] | None = None,
) -> tuple[Counts, Counts]:
    """Right answers and questions of networks whose accuracy, over all clips there are, is 1/2.

    Log odds are those of the clip (alike for all seeds), of the seed, and of both together.
    """
    odds = (
        (rng.normal(0, 1.5, (1, clips)) if clip is None else clip)
        + rng.normal(0, seed_spread, (seeds, 1))
        + rng.normal(0, 0.5, (seeds, clips))
    )
    asked = np.full((seeds, clips), per_clip)
    return rng.binomial(asked, 1 / (1 + np.exp(-odds))), asked


def _naive(right: Counts, asked: Counts) -> tuple[float, float]:
    """As if every question stood alone."""
    share = right.sum() / asked.sum()
    half = 1.96 * math.sqrt(share * (1 - share) / asked.sum())
    return share - half, share + half


def _clips_of_each_seed(right: Counts, asked: Counts) -> tuple[float, float]:
    """Clips drawn anew within every seed, as if seeds did not answer the same ones."""
    rng = np.random.default_rng(0)
    seeds, clips = right.shape
    s = rng.integers(seeds, size=(500, seeds, 1))
    c = rng.integers(clips, size=(500, seeds, clips))
    low, high = np.quantile(right[s, c].sum((1, 2)) / asked[s, c].sum((1, 2)), [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.parametrize(
    ("seeds", "seed_spread"), [(1, 0.0), (3, 0.0), (3, 0.3), (5, 0.1), (5, 0.6)]
)
def test_it_covers_the_truth_where_questions_share_clips(seeds: int, seed_spread: float) -> None:
    rng = np.random.default_rng(1)
    covered = naive = independent = 0
    for _ in range(TRIALS):
        right, asked = _answers(rng, seeds, 60, 6, seed_spread)
        interval = mean_interval(right, asked)
        covered += interval.low <= 0.5 <= interval.high
        low, high = _naive(right, asked)
        naive += low <= 0.5 <= high
        low, high = _clips_of_each_seed(right, asked)
        independent += low <= 0.5 <= high
    assert covered / TRIALS == pytest.approx(0.95, abs=THREE_ERRORS)
    assert naive / TRIALS < 0.9
    if seeds > 1:
        assert independent / TRIALS < 0.9


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("seed_spread", [0.0, 0.1, 0.5])
def test_a_paired_difference_of_few_seeds_is_covered(seeds: int, seed_spread: float) -> None:
    """Of two methods that are equally good: networks' accuracies spread by 0, .02 or .09."""
    rng = np.random.default_rng(seeds)
    covered = 0
    for _ in range(TRIALS):
        clip = rng.normal(0, 1.5, (1, 60))
        (one, asked), (other, _) = (
            _answers(rng, seeds, 60, 6, seed_spread, clip) for _ in range(2)
        )
        interval = mean_interval(one - other, asked, lowest=-1)
        covered += interval.low <= 0 <= interval.high
    assert covered / TRIALS == pytest.approx(0.96, abs=THREE_ERRORS)


def test_clips_alone_are_a_t_interval_of_their_means() -> None:
    """Where each clip has as many questions, by scipy's own interval."""
    right = np.array([[3, 1, 2, 0, 2, 3]])
    interval = mean_interval(right, np.full_like(right, 4))
    means = right[0] / 4
    low, high = t.interval(0.95, 5, means.mean(), sem(means))
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))
    assert interval.over == "clips"


def test_clips_of_different_sizes_are_a_ratio_of_means() -> None:
    """The variance of a ratio estimate: of each clip's right answers less what it lets expect."""
    right, asked = np.array([3, 1, 2, 0, 5]), np.array([3, 4, 2, 1, 6])
    interval = mean_interval(right[None], asked[None])
    ratio = right.sum() / asked.sum()
    error = np.std(right - ratio * asked, ddof=1) / asked.mean() / math.sqrt(5)
    assert interval.high == pytest.approx(min(1, ratio + t.ppf(0.975, 4) * error))
    assert interval.low == pytest.approx(ratio - t.ppf(0.975, 4) * error)


def test_where_only_seeds_differ_it_is_a_t_interval_of_theirs() -> None:
    """Three seeds have two degrees of freedom: 4.3 standard errors."""
    right = np.array([[4] * 30, [5] * 30, [6] * 30])
    interval = mean_interval(right, np.full_like(right, 10))
    half = 4.3027 * 0.1 / math.sqrt(3)
    assert interval.low == pytest.approx(0.5 - half, rel=1e-4)
    assert interval.high == pytest.approx(0.5 + half, rel=1e-4)


def test_its_variance_is_that_of_crossed_random_effects() -> None:
    """Of a large table, in which the variances of seeds, clips and both are known."""
    rng = np.random.default_rng(3)
    seeds, clips = 300, 400
    spreads = 0.02, 0.05, 0.1
    table = (
        0.5
        + rng.normal(0, spreads[0], (seeds, 1))
        + rng.normal(0, spreads[1], (1, clips))
        + rng.normal(0, spreads[2], (seeds, clips))
    )
    interval = mean_interval(table, np.ones((seeds, clips), dtype=np.int64))
    each = (0.02**2 / seeds, 0.05**2 / clips, 0.1**2 / (seeds * clips))
    assert (interval.high - interval.low) / 2 == pytest.approx(1.96 * math.sqrt(sum(each)), rel=0.1)


def test_two_seeds_say_nothing_about_seeds() -> None:
    """The clips' interval, not 12.7 standard errors; of three seeds both vary."""
    rng = np.random.default_rng(2)
    right, asked = _answers(rng, 3, 40, 5, 0.0)
    two = mean_interval(right[:2], asked[:2])
    pooled = mean_interval(right[:2].sum(0)[None], asked[:2].sum(0)[None])
    assert two == pooled
    assert two.over == "clips"
    assert mean_interval(right, asked).over == "seeds and clips"


@pytest.mark.parametrize("seeds", [1, 3, 5, 10])
def test_the_expected_half_width_is_that_of_intervals(seeds: int) -> None:
    """Of 1,000 questions, a fifth of which decide between two methods; networks spread by .02."""
    rng = np.random.default_rng(seeds)
    found = []
    for _ in range(400):
        decides = rng.choice([-0.5, 0.0, 0.5], (1, 1000), p=[0.1, 0.8, 0.1])
        network = rng.normal(0, 0.02, (2, seeds, 1))
        differences = decides + network[0] - network[1]
        interval = mean_interval(differences, np.ones((seeds, 1000), dtype=np.int64), lowest=-1)
        found.append((interval.high - interval.low) / 2)
    expected = expected_half_width(seeds, 1000, 0.2 * 0.5**2, 0.02)
    assert np.mean(found) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("half_width", [0.02, 0.01])
def test_no_fewer_answers_give_as_narrow_an_interval(half_width: float) -> None:
    seeds, questions = needed_for(half_width, 3, 800)
    assert expected_half_width(seeds, questions) <= half_width
    assert expected_half_width(seeds, questions - 1) > half_width
    for count in range(3, 4 * seeds, 3):
        fewer = (seeds * questions - 1) // count
        assert fewer < 800 or expected_half_width(count, fewer) > half_width


def test_what_is_there_is_not_asked_for_less() -> None:
    assert needed_for(0.5, 1, 800) == (3, 800)
    assert needed_for(0.5, 7, 900) == (7, 900)


def test_it_stays_where_scores_are() -> None:
    right = np.array([[5, 5, 5, 4]])
    asked = np.full_like(right, 5)
    assert mean_interval(right, asked).high == 1.0
    assert mean_interval(5 - right, asked).low == 0.0
    assert mean_interval(5 - right, asked, lowest=-1.0).low < 0


def test_the_same_answers_give_the_same_interval() -> None:
    clips, exact = ["b", "a", "b", "c"], [True, False, False, True]
    first = clip_interval(clips, exact)
    clip_interval(["x", "y"], [True, False])
    assert clip_interval(clips, exact) == first
    order = [2, 0, 3, 1]
    assert clip_interval([clips[i] for i in order], [exact[i] for i in order]) == first
    assert 0 <= first.low <= 0.5 <= first.high <= 1


def test_what_cannot_vary() -> None:
    """All right or all wrong, of 24 clips, is not a certainty."""
    assert clip_interval(["a", "b"], [True, True]) == clip_interval(["c", "d", "d"], [True] * 3)
    clips = [str(i) for i in range(24)]
    exact = binomtest(24, 24).proportion_ci(0.95)
    found = clip_interval(clips, [True] * 24)
    assert (found.low, found.high) == (pytest.approx(exact.low), 1.0)
    found = clip_interval(clips, [False] * 24)
    assert (found.low, found.high) == (0.0, pytest.approx(1 - exact.low))
    alone = clip_interval(["a", "a", "a"], [True, False, True])
    assert math.isnan(alone.low) and math.isnan(alone.high)


def test_a_seed_that_was_not_asked_about_a_clip_does_not_count_there() -> None:
    """As in emulations, where every seed's users ask other questions."""
    right, asked = np.array([[1, 0], [0, 1], [0, 0]]), np.array([[1, 0], [0, 1], [0, 1]])
    interval = mean_interval(right, asked)
    assert 0.0 <= interval.low <= 2 / 3 <= interval.high <= 1.0


def test_answers_that_are_right_in_part_count_in_part() -> None:
    """.5, .6 and .4 as the scores of three clips: the interval of their mean."""
    clips, scores = ["a", "b", "a", "c", "b", "c"], [0.3, 0.6, 0.7, 0.4, 0.6, 0.4]
    interval = clip_interval(clips, scores)
    low, high = t.interval(0.95, 2, 0.5, 0.1 / math.sqrt(3))
    assert (interval.low, interval.high) == (pytest.approx(low), pytest.approx(high))


def test_clips_without_a_score_do_not_count() -> None:
    assert math.isnan(clip_interval(["a", "b"], [math.nan, 1.0]).low)
    right, asked = np.array([[3, 1, 0, 2]] * 3), np.array([[3, 4, 0, 2]] * 3)
    found = mean_interval(right, asked)
    assert found == mean_interval(right[:, [0, 1, 3]], asked[:, [0, 1, 3]])
    unasked = np.zeros((1, 4), dtype=np.int64)
    assert mean_interval(np.vstack([right, unasked]), np.vstack([asked, unasked])) == found


@pytest.mark.parametrize("score", [0.89, 1 / 3, 0.5])
def test_scores_that_are_all_alike_are_not_a_certainty(score: float) -> None:
    """Whatever rounding makes of their sums."""
    asked = np.arange(1, 21)[None].repeat(3, axis=0)
    found = mean_interval(score * asked, asked)
    assert found.low < score - 0.1 < score + 0.1 < found.high


def test_answers_without_a_score_do_not_count() -> None:
    with_some = clip_interval(["a", "b", "b", "c"], [1.0, 0.0, math.nan, 0.5])
    assert with_some == clip_interval(["a", "b", "c"], [1.0, 0.0, 0.5])
    assert math.isnan(clip_interval(["a", "b"], [math.nan, math.nan]).low)
