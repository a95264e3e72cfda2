"""The 95 % interval of an accuracy, defined once: seeds and clips as crossed random effects.

Answers about one clip are correlated, so that clips count, never questions. Networks of different
seeds differ, so that seeds count as well. All seeds answer the same clips, so that the scores form
a table by seed and clip. The mean squares of its analysis of variance give the variance of the
mean, (MS_seeds + MS_clips - MS_both) / (seeds x clips). Satterthwaite's approximation ('An
approximate distribution of estimates of variance components', 1946) gives the degrees of freedom of
Student's t: two where the networks of three seeds are all that differs, many where clips differ. (A
bootstrap over seeds and clips counts the variance of single pairs of a seed and a clip three times,
and the spread of three seeds two thirds of a time: `benchmarks/coverage.py` shows how often its
intervals hold the truth.)

Clips may have different numbers of questions. The mean is then that over questions, and the table
holds each clip's sum of scores minus the mean times its number of questions, as for any ratio of
means. Where a task grades answers from 0 to 1, the interval is that of the mean score. Where all
clips have the same score, such as all right, another clip may still differ, with a probability of
at most Clopper and Pearson's bound for none in as many trials.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import gammaincinv, stdtrit

LEVEL = 0.95
MIN_SEEDS = 3
"""Number of seeds from which on seeds count as well."""
_MANY = 10**9
"""More seeds or questions than anybody has."""

Varied = Literal["seeds and clips", "clips"]


@dataclass(frozen=True)
class Interval:
    """Interval of a mean score; NaN with fewer than two clips.

    ``over`` names what varies. With fewer than three seeds only clips do: their questions are
    pooled over the seeds, and the interval says nothing about other seeds.
    """

    low: float
    high: float
    over: Varied


def mean_interval(sums: NDArray[Any], asked: NDArray[np.int64], lowest: float = 0.0) -> Interval:
    """The interval of ``sums.sum() / asked.sum()``.

    Args:
        sums: Number of correct answers, or sum of their scores, ``[seeds, clips]``.
        asked: Number of questions ``[seeds, clips]``; 0 if a seed was not asked about a clip.
        lowest: Lowest possible score: 0, or -1 for differences of scores.
    """
    assert sums.shape == asked.shape and (sums <= asked).all()
    some = asked.any(1), asked.any(0)
    sums, asked = (counts[some[0]][:, some[1]] for counts in (sums, asked))
    if len(sums) < MIN_SEEDS:
        sums, asked = sums.sum(0, keepdims=True), asked.sum(0, keepdims=True)
    seeds, clips = sums.shape
    over: Varied = "clips" if seeds == 1 else "seeds and clips"
    if clips < 2:
        return Interval(math.nan, math.nan, over)
    mean = float(sums.sum() / asked.sum())
    excess = sums - mean * asked
    if np.allclose(excess, 0):
        half = 1 - ((1 - LEVEL) / 2) ** (1 / clips)
    else:
        variance, freedom = _variance_of_mean(excess)
        error = math.sqrt(variance) * asked.size / float(asked.sum())
        half = t_quantile(freedom) * error
    return Interval(max(lowest, mean - half), min(1.0, mean + half), over)


def clip_interval(media_ids: Sequence[str], right: Sequence[float]) -> Interval:
    """The interval of one network's answers, over clips alone.

    Args:
        media_ids: Clip of each question.
        right: Score of each answer, from 0 to 1; NaN does not count.
    """
    by_clip = pd.DataFrame({"clip": media_ids, "right": right}).groupby("clip")["right"]
    sums, asked = (np.asarray(counts)[None] for counts in (by_clip.sum(), by_clip.count()))
    return mean_interval(sums, asked)


def expected_half_width(
    seeds: int, questions: int, disagreement: float = 0.2, spread: float = 0.015
) -> float:
    """Half of the width that a paired interval has on average.

    The networks of both methods and all seeds answer the same questions, each about another clip.

    Args:
        seeds: Number of seeds.
        questions: Number of questions that each network answers, at least 2.
        disagreement: Fraction of questions that only one of the two methods answers rightly.
        spread: Standard deviation of the accuracies of a method's networks.
    """
    by_question = disagreement / questions
    if seeds < MIN_SEEDS:
        return t_quantile(questions - 1) * math.sqrt(by_question)
    likely = (np.arange(200) + 0.5) / 200
    ratio = 2 * gammaincinv((seeds - 1) / 2, likely) / (seeds - 1)  # chi-squared, equally likely
    by_seed = 2 * spread**2 / seeds * ratio
    variance = by_question + by_seed
    freedom = variance**2 / (by_question**2 / (questions - 1) + by_seed**2 / (seeds - 1))
    return float((stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(variance)).mean())


def needed_for(half_width: float, seeds: int, questions: int) -> tuple[int, int]:
    """Numbers of seeds and questions at which a paired interval is expected to be narrow enough.

    Of all such pairs, it is the one with the fewest answers, seeds times questions.

    Args:
        half_width: Half of the width that is wanted, above 0.
        seeds: Least number of seeds; :data:`MIN_SEEDS`, from which on they count, if that is more.
        questions: Least number of questions that each network answers, at least 2.
    """

    def enough(count: int, asked: int) -> bool:
        return expected_half_width(count, asked) <= half_width

    def fewest(count: int, most: int) -> int:
        return bisect_left(range(most), True, questions, key=lambda asked: enough(count, asked))

    with_any_seeds, count, most = fewest(_MANY, _MANY), max(seeds, MIN_SEEDS), _MANY
    best: tuple[int, int] | None = None
    while best is None or most >= with_any_seeds:
        if enough(count, most):
            best = count, fewest(count, most)
        count += 1
        if best is not None:
            most = (best[0] * best[1] - 1) // count  # so that there are fewer answers
    return best


def t_quantile(freedom: float) -> float:
    """Student's t that the interval extends to; `scipy.stats` has the same, but takes a second."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _variance_of_mean(table: NDArray[np.float64]) -> tuple[float, float]:
    """Variance of the mean of a table ``[seeds, clips]``, and its degrees of freedom.

    The variance is at least that of independent cells, since the estimate may fall below it by
    chance.
    """
    seeds, clips = table.shape
    mean = table.mean()
    by_seed, by_clip = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    clip = float(seeds * np.square(by_clip - mean).sum() / (clips - 1))
    if seeds == 1:
        return clip / clips, clips - 1
    seed = float(clips * np.square(by_seed - mean).sum() / (seeds - 1))
    each = (seeds - 1) * (clips - 1)
    both = float(np.square(table - by_seed - by_clip + mean).sum() / each)
    total = max(seed + clip - both, both)
    squares = seed**2 / (seeds - 1) + clip**2 / (clips - 1) + both**2 / each
    freedom = max(total**2 / squares, min(seeds, clips) - 1)
    return total / table.size, freedom
