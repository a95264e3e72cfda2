"""Token lengths within a deadline, and SNR under a power mode."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actors import airtime_ms, share_of
from channel_models import InfeasibleBudgetError, Link
from tokcom_core.systems import Stream, System, devices_of
from tokcom_core.tasks import Task

from .study import Study, TokenBudget


@dataclass(frozen=True)
class Budget:
    """A bandwidth, and the token lengths of a system at it.

    Attributes:
        bandwidth_hz: Bandwidth of the link.
        tokens: Token lengths: those that the study asks for, or the longest within its deadline.
        infeasible: Reason why the link cannot carry them; None if it can.
    """

    bandwidth_hz: float
    tokens: TokenBudget
    infeasible: str | None = None


def budget_of(study: Study, system: System, bandwidth_hz: float, tokens: TokenBudget) -> Budget:
    """The budget of a system where the study asks for these token lengths."""
    own = system.budgets(study.task)
    asked = {name: count for name, count in tokens.items() if name in own}
    try:
        return Budget(bandwidth_hz, _carried(study, system, asked, study.link_at(bandwidth_hz)))
    except InfeasibleBudgetError as error:
        return Budget(bandwidth_hz, asked, str(error))


def _carried(study: Study, system: System, asked: TokenBudget, link: Link) -> TokenBudget:
    """The token lengths that a link carries: those asked for, or the longest within the deadline.

    Raises:
        InfeasibleBudgetError: if it carries none.
    """
    devices = len(devices_of(served_streams(system, study.task, asked)))
    link.blocks_per_device(devices)
    if study.emulate is not None:
        share_of(link, study.emulate.users_at_once, devices)
    if not asked or study.deadline_ms is None or study.deadline_policy == "late":
        return asked
    return fit(study, system, asked, link)


def served_streams(system: System, task: Task, tokens: TokenBudget) -> tuple[Stream, ...]:
    """The streams that a test sample consists of, in order."""
    by_name = {stream.name: stream for stream in system.streams(task, tokens)}
    return tuple(by_name[name] for name in system.served(task))


def fit(study: Study, system: System, tokens: TokenBudget, link: Link) -> TokenBudget:
    """The longest token lengths, in the proportion of ``tokens``, that meet the study's deadline.

    Raises:
        InfeasibleBudgetError: if even one token of each device does not meet it.
    """
    assert study.deadline_ms is not None
    for percent in range(100, -1, -1):
        candidate = {name: max(1, count * percent // 100) for name, count in tokens.items()}
        streams = served_streams(system, study.task, candidate)
        needed_ms = airtime_ms(link, streams)
        if needed_ms <= study.deadline_ms:
            return candidate
    rest = ", ".join(f"{s.max_tokens} of {s.name}" for s in streams if s.device not in tokens)
    raise InfeasibleBudgetError(
        f"deadline_ms {study.deadline_ms:g} is too short: one token of each device"
        f"{f' and {rest}' if rest else ''} take {needed_ms:.3g} ms at {link.bandwidth_hz:g} Hz"
    )


def loss_at_bandwidth_db(study: Study, bandwidth_hz: float) -> float:
    """Loss of SNR at a bandwidth: ``fixed_power`` loses 3 dB for each doubling of bandwidth."""
    if study.power_mode == "fixed_psd":
        return 0.0
    return 10 * math.log10(bandwidth_hz / study.reference_bandwidth_hz)
