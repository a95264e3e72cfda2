"""The 95 % interval of an accuracy, defined once: a bootstrap over seeds and clips.

Answers about one clip are correlated, so that clips are drawn, never questions; networks of
different seeds differ, so that seeds are drawn as well. All seeds answer the same clips: one
resample draws seeds, then clips, and each drawn seed answers the drawn clips. (Clips drawn anew
for every seed would let the difficulty of a clip, which all seeds share, average out: with three
seeds the interval would be narrower than over clips alone.) Its accuracy is right answers over
questions; the interval holds the middle 95 % of the resamples' accuracies.

Where a task grades answers from 0 to 1, 'right answers' are the sum of their scores, and the
interval is one of the mean score: a bootstrap, unlike the interval of a proportion, takes no
binomial law for granted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

RESAMPLES = 4000
_SEEDS = {"clips": 1, "seeds": 2}
_MIN_SEEDS = 3

Resampled = Literal["seeds and clips", "clips"]


@dataclass(frozen=True)
class Interval:
    """Interval of an accuracy; NaN with fewer than two clips.

    ``resampled`` names what was drawn: with fewer than three seeds clips alone, their questions
    pooled over the seeds, which says nothing about other seeds.
    """

    low: float
    high: float
    resampled: Resampled


def bootstrap_interval(right: NDArray[Any], asked: NDArray[np.int64]) -> Interval:
    """The interval of ``right.sum() / asked.sum()``; the same counts give the same interval.

    Args:
        right: Number of correct answers, or sum of their scores, ``[seeds, clips]``.
        asked: Number of questions ``[seeds, clips]``; 0 if a seed was not asked about a clip.
    """
    assert right.shape == asked.shape and (right <= asked).all()
    if len(right) < _MIN_SEEDS:
        right, asked = right.sum(0, keepdims=True), asked.sum(0, keepdims=True)
    seeds, clips = right.shape
    resampled: Resampled = "clips" if seeds == 1 else "seeds and clips"
    if clips < 2 or not asked.any():
        return Interval(math.nan, math.nan, resampled)
    by_clip, by_seed = _draws("clips", clips), _draws("seeds", seeds)
    found_right, found_asked = (
        (by_seed * (by_clip @ counts.T.astype(np.float64))).sum(1) for counts in (right, asked)
    )
    some = found_asked > 0
    low, high = np.quantile(found_right[some] / found_asked[some], [0.025, 0.975])
    return Interval(float(low), float(high), resampled)


def clip_interval(media_ids: Sequence[str], right: Sequence[float]) -> Interval:
    """The interval of one network's answers, over clips alone.

    Args:
        media_ids: Clip of each question.
        right: Score of each answer, from 0 to 1; NaN does not count.
    """
    by_clip = pd.DataFrame({"clip": media_ids, "right": right}).groupby("clip")["right"]
    return bootstrap_interval(*(np.asarray(c)[None] for c in (by_clip.sum(), by_clip.count())))


@lru_cache(maxsize=8)
def _draws(what: Literal["clips", "seeds"], count: int) -> NDArray[Any]:
    """Times that each of ``count`` items is drawn in a resample, ``[RESAMPLES, count]``."""
    rng = np.random.default_rng([_SEEDS[what], count])
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn.astype(np.float64)
