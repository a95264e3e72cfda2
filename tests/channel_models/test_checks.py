"""Every physics check of ``tokcom air check`` lies within chance of theory."""

from __future__ import annotations

import pytest

from channel_models.checks import CHECKS, Check, run_checks

SLOW = ("phy abstraction",)


@pytest.mark.parametrize(
    "subject", [pytest.param(s, marks=pytest.mark.slow) if s in SLOW else s for s in CHECKS]
)
def test_the_air_agrees_with_theory(subject: str) -> None:
    checks = list(run_checks(subject))
    assert checks
    assert [check for check in checks if not check.passes] == []


def test_a_check_tells_a_wrong_result_from_a_right_one() -> None:
    assert not Check("s", "q", 0, "", measured=0.08, expected=0.07, tolerance=0.001).passes
    assert Check("s", "q", 0, "", measured=0.0705, expected=0.07, tolerance=0.001).passes
