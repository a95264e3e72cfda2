"""Token lengths within a deadline, and SNR under a power mode."""

from __future__ import annotations

import math

from actors import airtime_ms
from channel_models import Link
from tokcom_core.systems import Stream, System
from tokcom_core.tasks import Task

from .study import Study, TokenBudget


def served_streams(system: System, task: Task, tokens: TokenBudget) -> tuple[Stream, ...]:
    """The streams that a test sample consists of, in order."""
    by_name = {stream.name: stream for stream in system.streams(task, tokens)}
    return tuple(by_name[name] for name in system.served(task))


def fit(study: Study, system: System, tokens: TokenBudget, link: Link) -> TokenBudget:
    """The longest token lengths, in the proportion of ``tokens``, that meet the study's deadline.

    Raises:
        ValueError: if even one token of each device does not meet it.
    """
    assert study.deadline_ms is not None
    for percent in range(100, -1, -1):
        candidate = {name: max(1, count * percent // 100) for name, count in tokens.items()}
        streams = served_streams(system, study.task, candidate)
        needed_ms = airtime_ms(link, streams)
        if needed_ms <= study.deadline_ms:
            return candidate
    rest = ", ".join(f"{s.max_tokens} of {s.name}" for s in streams if s.device not in tokens)
    raise ValueError(
        f"deadline_ms {study.deadline_ms:g} is too short: one token of each device"
        f"{f' and {rest}' if rest else ''} take {needed_ms:.3g} ms at {link.bandwidth_hz:g} Hz"
    )


def loss_at_bandwidth_db(study: Study, bandwidth_hz: float) -> float:
    """Loss of SNR at a bandwidth: ``fixed_power`` loses 3 dB for each doubling of bandwidth."""
    if study.power_mode == "fixed_psd":
        return 0.0
    return 10 * math.log10(bandwidth_hz / study.reference_bandwidth_hz)
