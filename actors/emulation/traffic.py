"""Traffic: which user asks which question, when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel_models import spawn_seed


@dataclass(frozen=True)
class Traffic:
    """Questions in the order of their arrival; a question's number is its index.

    Attributes:
        users: User that asks each question, int64.
        rows: Sample of the split that each question is about, int64.
        arrivals_s: Arrival time of each question, float64.
    """

    users: NDArray[np.int64]
    rows: NDArray[np.int64]
    arrivals_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.users)


def count_questions(users: int, questions_per_s: float, duration_s: float, seed: int) -> int:
    """Number of questions of :func:`poisson_traffic`."""
    rng = np.random.default_rng(spawn_seed(seed, "traffic"))
    return int(rng.poisson(users * questions_per_s * duration_s))


def poisson_traffic(
    users: int, questions_per_s: float, duration_s: float, samples: int, seed: int
) -> Traffic:
    """Independent Poisson traffic of all users, about random samples.

    Args:
        users: Number of users.
        questions_per_s: Mean rate of each user.
        duration_s: Duration of the traffic.
        samples: Number of samples of the split; all are asked about before any is repeated.
        seed: Seed of the traffic.
    """
    rng = np.random.default_rng(spawn_seed(seed, "traffic"))
    count = int(rng.poisson(users * questions_per_s * duration_s))  # first, as in count_questions
    rounds = -(-count // samples)
    rows = np.concatenate([rng.permutation(samples) for _ in range(max(1, rounds))])[:count]
    return Traffic(
        users=rng.integers(0, users, count),
        rows=rows.astype(np.int64),
        arrivals_s=np.sort(rng.uniform(0.0, duration_s, count)),
    )
