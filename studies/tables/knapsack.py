"""Resource blocks for users whose accuracy grows with them: multiple-choice knapsacks.

A user's *steps* are its accuracies, each by the fewest blocks that give it. One step is taken for
each user, so that all blocks together are at most ``total``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

Steps = Mapping[int, float]

_Choice = tuple[float, int, tuple[int, ...]]
"""Sum of the accuracies, negative number of blocks, and the blocks of each user."""
_DIGITS = 9
"""Decimals up to which sums are equal; the order of adding may change later ones."""
_IMPOSSIBLE: _Choice = (-math.inf, 0, ())


def most_accurate(users: Sequence[Steps], total: int) -> tuple[int, ...]:
    """Blocks of each user with the greatest sum of accuracies; of equal sums, the fewest blocks.

    The result is exact, by dynamic programming over the blocks of the first users.

    Args:
        users: Steps of each user; the fewest blocks of all users add up to at most ``total``.
        total: Number of blocks.
    """
    best: list[_Choice] = [(0.0, 0, ())] * (total + 1)
    for steps in users:
        best = [
            max(
                (
                    _with(best[limit - n], n, accuracy)
                    for n, accuracy in steps.items()
                    if n <= limit
                ),
                default=_IMPOSSIBLE,
            )
            for limit in range(total + 1)
        ]
    return best[total][2]


def _with(others: _Choice, blocks: int, accuracy: float) -> _Choice:
    """A choice extended by one more user."""
    return round(others[0] + accuracy, _DIGITS), others[1] - blocks, (*others[2], blocks)


def max_min(users: Sequence[Steps], total: int) -> tuple[int, ...]:
    """Blocks of each user with the greatest lowest accuracy; of equal ones, the greatest sum.

    Args:
        users: Steps of each user; the fewest blocks of all users add up to at most ``total``.
        total: Number of blocks.
    """
    levels = sorted({accuracy for steps in users for accuracy in steps.values()}, reverse=True)
    for level in levels:
        above = [{n: accuracy for n, accuracy in s.items() if accuracy >= level} for s in users]
        if all(above) and sum(min(steps) for steps in above) <= total:
            return most_accurate(above, total)
    raise AssertionError("the fewest blocks of all users are too many")


def apportioned(weights: Sequence[float], total: int) -> tuple[int, ...]:
    """Whole blocks in proportion to weights, by largest remainder; ties go to the first user."""
    shares = [total * weight / sum(weights) for weight in weights]
    blocks = [int(share) for share in shares]
    by_rest = sorted(range(len(shares)), key=lambda user: blocks[user] - shares[user])
    for user in by_rest[: total - sum(blocks)]:
        blocks[user] += 1
    return tuple(blocks)
