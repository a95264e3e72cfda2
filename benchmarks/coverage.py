"""How often 95 % intervals hold the truth, in simulated studies whose truth is known::

    python benchmarks/coverage.py [--trials 400]

In a study, the networks of some seeds answer 1,000 questions about 200 clips. The log odds of a
right answer are the mean of the method plus three random terms: one of the clip, which all networks
share, one of the network, and one of the clip and the network together.

Prints, by the standard deviation of the networks' accuracies and the number of seeds, the fraction
of intervals that hold the accuracy over all possible clips and networks, and the fraction of paired
intervals that hold the difference between two methods. Beside them are the fractions of a bootstrap
over seeds and clips.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

sys.path.remove(str(Path(__file__).parent))  # studies.py would hide the package of its name

from studies.tables.statistics import mean_interval

CLIPS, PER_CLIP = 200, 5
CLIP_SPREAD, SHARED_SPREAD = 1.5, 0.5
"""Standard deviations of a clip's term of the log odds, and of a clip's and network's together."""
MEAN_LOG_ODDS = (1.2, 0.9)
"""Mean log odds of two methods."""
SPREADS = (0.0, 0.1, 0.25, 0.5)
"""Standard deviations of a network's term of the log odds."""

RESAMPLES = 500

Array = NDArray[np.float64]


def answers(
    rng: np.random.Generator, clip: Array, means: Sequence[float], spread: float, seeds: int
) -> list[NDArray[np.int64]]:
    """Number of right answers ``[seeds, clips]`` of each method."""
    found = []
    for mean in means:
        network = rng.normal(0, spread, (seeds, 1))
        both = rng.normal(0, SHARED_SPREAD, (seeds, clip.shape[1]))
        found.append(rng.binomial(PER_CLIP, expit(mean + clip + network + both)))
    return found


def accuracy(mean: float, spread: float, rng: np.random.Generator) -> float:
    """Accuracy over all possible clips and networks."""
    odds = np.hypot(np.hypot(CLIP_SPREAD, SHARED_SPREAD), spread) * rng.normal(size=2_000_000)
    return float(expit(mean + odds).mean())


def spread_of_accuracy(spread: float, rng: np.random.Generator) -> float:
    """Standard deviation of the accuracies of networks."""
    odds = np.hypot(CLIP_SPREAD, SHARED_SPREAD) * rng.normal(size=(1, 20_000))
    networks = spread * rng.normal(size=(300, 1))
    return float(expit(MEAN_LOG_ODDS[0] + odds + networks).mean(1).std())


def coverage(paired: bool, spread: float, seeds: int, trials: int) -> dict[str, float]:
    """Fraction of intervals that hold the truth, for ours and a bootstrap over seeds and clips."""
    rng = np.random.default_rng([paired, int(100 * spread), seeds])
    means = MEAN_LOG_ODDS if paired else MEAN_LOG_ODDS[:1]
    truth = [accuracy(mean, spread, rng) for mean in means]
    held = dict.fromkeys(("tokcom", "bootstrap"), 0)
    for _ in range(trials):
        clip = rng.normal(0, CLIP_SPREAD, (1, CLIPS))
        right = answers(rng, clip, means, spread, seeds)
        counted = right[0] - right[1] if paired else right[0]
        found = mean_interval(counted, np.full((seeds, CLIPS), PER_CLIP), lowest=-1.0)
        intervals = {"tokcom": (found.low, found.high), "bootstrap": bootstrap(counted, rng)}
        for name, (low, high) in intervals.items():
            held[name] += low <= (truth[0] - truth[1] if paired else truth[0]) <= high
    return {name: count / trials for name, count in held.items()}


def bootstrap(right: NDArray[np.int64], rng: np.random.Generator) -> tuple[float, float]:
    """The interval of a bootstrap over seeds and clips."""
    drawn = [
        rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES).astype(float)
        for count in right.shape
    ]
    means = (drawn[0] * (drawn[1] @ right.T)).sum(1) / (right.size * PER_CLIP)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    """Prints the fractions."""
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    parser.add_argument("--trials", type=int, default=400)
    trials = parser.parse_args().trials
    for paired, title in ((False, "accuracy"), (True, "paired difference")):
        rows = {
            f"{spread_of_accuracy(spread, np.random.default_rng(0)):.3f}": {
                (name, f"{seeds} seeds"): held
                for seeds in (3, 5, 10)
                for name, held in coverage(paired, spread, seeds, trials).items()
            }
            for spread in SPREADS
        }
        table = pd.DataFrame.from_dict(rows, orient="index").sort_index(axis=1, level=0)
        print(f"\n{title}\n{table.rename_axis('spread').round(3)}")


if __name__ == "__main__":
    main()
