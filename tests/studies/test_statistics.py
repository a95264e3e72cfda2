"""The interval of an accuracy holds what it says, whatever questions about one clip share."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from studies.tables.statistics import bootstrap_interval, clip_interval

Counts = NDArray[np.int64]
TRIALS = 300
THREE_ERRORS = 3 * math.sqrt(0.95 * 0.05 / TRIALS)


def _answers(
    rng: np.random.Generator, seeds: int, clips: int, per_clip: int, seed_spread: float
) -> tuple[Counts, Counts]:
    """Right answers and questions of networks whose accuracy, over all clips there are, is 1/2.

    Log odds are those of the clip (alike for all seeds), of the seed, and of both together.
    """
    odds = (
        rng.normal(0, 1.5, (1, clips))
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


@pytest.mark.parametrize(("seeds", "seed_spread"), [(1, 0.0), (6, 0.3)])
def test_it_covers_the_truth_where_questions_share_clips(seeds: int, seed_spread: float) -> None:
    rng = np.random.default_rng(1)
    covered = naive = independent = 0
    for _ in range(TRIALS):
        right, asked = _answers(rng, seeds, 60, 6, seed_spread)
        interval = bootstrap_interval(right, asked)
        covered += interval.low <= 0.5 <= interval.high
        low, high = _naive(right, asked)
        naive += low <= 0.5 <= high
        low, high = _clips_of_each_seed(right, asked)
        independent += low <= 0.5 <= high
    assert covered / TRIALS == pytest.approx(0.95, abs=THREE_ERRORS)
    assert naive / TRIALS < 0.85
    if seeds > 1:
        assert independent / TRIALS < 0.85


def test_two_clips_by_hand() -> None:
    """One right, one wrong: both are drawn with probability 1/2, either twice with 1/4."""
    interval = bootstrap_interval(np.array([[1, 0]]), np.array([[1, 1]]))
    assert (interval.low, interval.high, interval.resampled) == (0.0, 1.0, "clips")


def test_it_is_the_quantile_of_every_draw() -> None:
    """Four clips of different sizes: 256 equally likely draws."""
    right, asked = np.array([3, 1, 2, 0]), np.array([3, 4, 2, 1])
    draws = [list(draw) for draw in product(range(4), repeat=4)]
    accuracies = sorted(right[draw].sum() / asked[draw].sum() for draw in draws)
    interval = bootstrap_interval(right[None], asked[None])
    assert accuracies[5] <= interval.low <= accuracies[7]  # 2.5 % of 256 is 6.4
    assert accuracies[-8] <= interval.high <= accuracies[-6]


def test_two_seeds_say_nothing_about_seeds() -> None:
    """.5 and .6: the clips' interval, not 12.7 standard errors; three seeds are drawn, too."""
    rng = np.random.default_rng(2)
    right, asked = _answers(rng, 3, 40, 5, 0.0)
    two = bootstrap_interval(right[:2], asked[:2])
    pooled = bootstrap_interval(right[:2].sum(0)[None], asked[:2].sum(0)[None])
    assert two == pooled
    assert two.resampled == "clips"
    assert bootstrap_interval(right, asked).resampled == "seeds and clips"


def test_seeds_that_differ_widen_it() -> None:
    right = np.array([[2] * 30, [5] * 30, [8] * 30])
    interval = bootstrap_interval(right, np.full_like(right, 10))
    assert interval.low == pytest.approx(0.2)  # all three draws are the first: 1 in 27
    assert interval.high == pytest.approx(0.8)


def test_the_same_answers_give_the_same_interval() -> None:
    clips, exact = ["b", "a", "b", "c"], [True, False, False, True]
    first = clip_interval(clips, exact)
    clip_interval(["x", "y"], [True, False])
    assert clip_interval(clips, exact) == first
    order = [2, 0, 3, 1]
    assert clip_interval([clips[i] for i in order], [exact[i] for i in order]) == first
    assert 0 <= first.low <= 0.5 <= first.high <= 1


def test_what_cannot_vary() -> None:
    assert clip_interval(["a", "b"], [True, True]) == clip_interval(["c", "d", "d"], [True] * 3)
    assert clip_interval(["a", "b"], [True, True]).low == 1.0
    alone = clip_interval(["a", "a", "a"], [True, False, True])
    assert math.isnan(alone.low) and math.isnan(alone.high)


def test_a_seed_that_was_not_asked_about_a_clip_does_not_count_there() -> None:
    """As in emulations, where every seed's users ask other questions."""
    right, asked = np.array([[1, 0], [0, 1], [0, 0]]), np.array([[1, 0], [0, 1], [0, 1]])
    interval = bootstrap_interval(right, asked)
    assert 0.0 <= interval.low <= 2 / 3 <= interval.high <= 1.0


def test_answers_that_are_right_in_part_count_in_part() -> None:
    """Two clips of means .3 and .9: both are drawn, or either twice, as with right and wrong."""
    interval = clip_interval(["a", "a", "b"], [0.0, 0.6, 0.9])
    assert (interval.low, interval.high) == (pytest.approx(0.3), pytest.approx(0.9))


def test_answers_without_a_score_do_not_count() -> None:
    with_some = clip_interval(["a", "b", "b", "c"], [1.0, 0.0, math.nan, 0.5])
    assert with_some == clip_interval(["a", "b", "c"], [1.0, 0.0, 0.5])
    assert math.isnan(clip_interval(["a", "b"], [math.nan, math.nan]).low)
