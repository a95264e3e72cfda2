"""Faults and traffic are drawn from the distributions that they are said to have."""

from __future__ import annotations

import math

import numpy as np
import pytest

from actors import Faults
from actors.emulation.traffic import count_questions, poisson_traffic


def test_stragglers_are_as_many_and_as_late_as_they_should_be() -> None:
    """Exponential delays, whose standard deviation is their mean."""
    delay_ms = Faults(straggler_prob=0.25, straggler_ms=40).delay_ms(0, "audio", 20_000)
    late = delay_ms[delay_ms > 0]
    assert len(late) / len(delay_ms) == pytest.approx(0.25, abs=0.02)
    assert float(late.mean()) == pytest.approx(40, rel=0.1)
    assert float(late.std()) == pytest.approx(40, rel=0.1)


@pytest.mark.parametrize("straggler_ms", [math.inf, math.nan])
def test_a_delay_that_never_ends_is_refused(straggler_ms: float) -> None:
    with pytest.raises(ValueError, match="straggler_ms\n  Input should be a finite number"):
        Faults(straggler_ms=straggler_ms)


def test_questions_are_poisson_traffic_of_all_users() -> None:
    """120 in the mean of 20 users at 2 questions/s in 3 s; each sample before any is repeated."""
    every = [poisson_traffic(20, 2.0, 3.0, 50, seed) for seed in range(300)]
    assert [*map(len, every)] == [count_questions(20, 2.0, 3.0, seed) for seed in range(300)]
    counts = [len(traffic) for traffic in every]
    assert np.mean(counts) == pytest.approx(120, rel=0.04)
    assert np.var(counts) == pytest.approx(120, rel=0.4)
    assert all(sorted(traffic.rows[:50]) == list(range(50)) for traffic in every)
    arrivals_s = np.concatenate([traffic.arrivals_s for traffic in every])
    assert arrivals_s.mean() == pytest.approx(1.5, rel=0.03)
    assert 0 <= arrivals_s.min() < 0.01 and 2.99 < arrivals_s.max() <= 3
    asked = np.bincount(np.concatenate([traffic.users for traffic in every]))
    assert len(asked) == 20
    assert asked == pytest.approx(sum(counts) / 20, rel=0.12)  # five standard errors
