"""Whether questions are answered by a deadline."""

from __future__ import annotations

from collections.abc import Sequence

from ..plan.budgets import meets

MAX_LATE_FRACTION = 0.05
"""A deadline is met if at most this fraction of the questions is late.

As in 3GPP's TR 38.838, where users are satisfied if a given fraction of their packets is in time.
"""


def lateness(
    deadline_ms: float | None, latencies_ms: Sequence[float | None]
) -> dict[str, float | bool | None]:
    """The columns of ``results`` about a deadline, if there is one.

    Args:
        deadline_ms: Deadline of a question; None for no deadline, which is always met.
        latencies_ms: Latency of each question, of at least one; NaN or None for a question that was
            never answered.
    """
    if deadline_ms is None:
        return {"late_fraction": None, "meets_deadline": True}
    late = [not meets(deadline_ms, latency_ms) for latency_ms in latencies_ms]
    fraction = sum(late) / len(late)
    return {"late_fraction": fraction, "meets_deadline": fraction <= MAX_LATE_FRACTION}
