"""Traffic: which user asks which question, when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel_models import spawn_seed


@dataclass(frozen=True)
class Traffic:
    """Questions in the order of their arrival; their number is their place here.

    Attributes:
        users: int64, who asks.
        rows: int64, which sample of the split.
        arrivals_s: float64, when.
    """

    users: NDArray[np.int64]
    rows: NDArray[np.int64]
    arrivals_s: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.users)


def poisson_traffic(
    users: int, questions_per_s: float, duration_s: float, samples: int, seed: int
) -> Traffic:
    """Every user asks at a mean rate, independently; which samples they ask about is random.

    Args:
        users: how many.
        questions_per_s: mean rate of each.
        duration_s: of the traffic.
        samples: of the split; all are asked before any is asked again.
        seed: fixes it.
    """
    rng = np.random.default_rng(spawn_seed(seed, "traffic"))
    count = int(rng.poisson(users * questions_per_s * duration_s))
    rounds = -(-count // samples)
    rows = np.concatenate([rng.permutation(samples) for _ in range(max(1, rounds))])[:count]
    return Traffic(
        users=rng.integers(0, users, count),
        rows=rows.astype(np.int64),
        arrivals_s=np.sort(rng.uniform(0.0, duration_s, count)),
    )
