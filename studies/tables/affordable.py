"""What a finished study has measured that a link can carry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from actors import airtime_ms, share_of
from channel_models import InfeasibleBudgetError
from tokcom_core.systems import devices_of

from ..plan.budgets import Budget, loss_at_bandwidth_db, meets, served_streams, user_link
from ..plan.cells import Plan
from ..plan.contenders import Contender
from ..plan.study import Study
from .columns import TableLayout


@dataclass(frozen=True)
class LinkLimits:
    """A link that users share, and how long a question may take.

    Attributes:
        bandwidth_hz: Bandwidth of all users together.
        deadline_ms: Longest latency of a question; None for any.
        snr_db: SNR at the receiver; None for every SNR that was evaluated.
        users: Number of users who send at once, each on an equal share of the band.
    """

    bandwidth_hz: float
    deadline_ms: float | None = None
    snr_db: float | None = None
    users: int = 1

    def __post_init__(self) -> None:
        if self.users < 1:
            raise ValueError(f"users {self.users} should be at least 1")
        if not 0 < self.bandwidth_hz < math.inf:
            raise ValueError(f"bandwidth_hz {self.bandwidth_hz:g} should be positive and finite")
        if self.deadline_ms is not None and not self.deadline_ms > 0:
            raise ValueError(f"deadline_ms {self.deadline_ms:g} should be positive")
        if self.snr_db is not None and math.isnan(self.snr_db):
            raise ValueError("snr_db nan should be a number")


def affordable(
    plan: Plan, summary: pd.DataFrame, layout: TableLayout, limits: LinkLimits
) -> pd.DataFrame:
    """The conditions that a link carries in time, the most accurate one of each air first.

    A question takes as much longer, or less, than measured as its longest token symbols do on a
    user's share of the band, and costs its senders as much more or less energy; the rest of its
    latency, such as computing, stays. At an SNR in between, that of the next lower evaluated one is
    shown.

    Args:
        plan: Plan of the study.
        summary: Rows of :func:`studies.tables.summary.summarise`.
        layout: Layout of the tables.
        limits: The link and the deadline.

    Returns:
        Rows of the summary, with ``airtime_ms``, ``latency_ms`` and ``energy_mj`` on this link and
        its ``deadline_ms``, NaN without one, which all of them meet.

    Raises:
        InfeasibleBudgetError: if the link carries nothing of what was measured.
        ValueError: if no cell of a method has finished, or none at an SNR as low as this.
    """
    found, reasons = [], []
    for contender in plan.contenders:
        budgets = plan.budgets(contender) if contender.reference is None else ()
        for budget in {(b.bandwidth_hz, *b.tokens.items()): b for b in budgets}.values():
            rows = _measured(summary, contender, budget, layout)
            try:
                slower = _slower(plan.study, contender, budget, limits)
            except InfeasibleBudgetError as error:
                reasons.append(str(error))
                continue
            costs = {name: rows[name] * slower for name in ("airtime_ms", "energy_mj")}
            later_ms = costs["airtime_ms"] - rows["airtime_ms"]
            found.append(rows.assign(**costs, latency_ms=rows["latency_ms"] + later_ms))
    if not found:
        raise InfeasibleBudgetError(reasons[0])
    apart = [name for name in layout.condition if name != "deadline_ms"]
    carried = pd.concat(found).drop_duplicates(apart)
    if carried.empty:
        raise ValueError(
            "no finished cell of a method that this link carries; 'tokcom study resume' runs what "
            "is missing"
        )
    rows = _at_snr(plan.study, carried, limits.snr_db)
    rows = rows[rows["latency_ms"].notna()]  # something was answered
    in_time = rows[[meets(limits.deadline_ms, latency_ms) for latency_ms in rows["latency_ms"]]]
    if rows.empty:
        raise InfeasibleBudgetError("no question was answered on a link like this one")
    if in_time.empty:
        raise InfeasibleBudgetError(
            f"nothing that was measured takes {limits.deadline_ms:g} ms or less on this link; the "
            f"shortest takes {rows['latency_ms'].min():.3g} ms"
        )
    best = ["air", "eval_snr_db", "accuracy"]
    deadline_ms = math.nan if limits.deadline_ms is None else limits.deadline_ms
    in_time = in_time.assign(deadline_ms=deadline_ms, meets_deadline=1.0)
    return in_time.sort_values(best, ascending=[True, True, False], ignore_index=True)


def _measured(
    summary: pd.DataFrame, contender: Contender, budget: Budget, layout: TableLayout
) -> pd.DataFrame:
    """The conditions of a method at a budget."""
    values = {"method": contender.label, "bandwidth_hz": budget.bandwidth_hz}
    tokens = zip(layout.budget_columns, layout.budgets, strict=True)
    values |= {column: budget.tokens.get(device, 0) for column, device in tokens}
    alike = [summary[column] == value for column, value in values.items()]
    return summary[pd.concat(alike, axis=1).all(axis=1)]


def _slower(study: Study, contender: Contender, budget: Budget, limits: LinkLimits) -> float:
    """How many times as long a question takes on a user's share of the link.

    Raises:
        InfeasibleBudgetError: if the share is too narrow.
    """
    streams = served_streams(contender.system, study.task, budget.tokens)
    devices = len(devices_of(streams))
    link = study.link_at(limits.bandwidth_hz)
    try:
        share = share_of(link, limits.users, devices)
    except InfeasibleBudgetError:
        least_hz = limits.users * link.block_hz * (devices if link.access == "ofdma" else 1)
        each = f" of each of {limits.users} users" if limits.users > 1 else ""
        raise InfeasibleBudgetError(
            f"a bandwidth of {limits.bandwidth_hz:g} Hz is too little for {devices} devices{each}; "
            f"take {least_hz:g} or more"
        ) from None
    measured = user_link(study, budget.bandwidth_hz, devices)
    return airtime_ms(share, streams) / airtime_ms(measured, streams)


def _at_snr(study: Study, rows: pd.DataFrame, snr_db: float | None) -> pd.DataFrame:
    """The conditions of every bandwidth at the next lower SNR that was received at it.

    None of airs with a link budget, whose SNRs are their own.

    Raises:
        ValueError: if there is none.
    """
    if snr_db is None:
        return rows
    if rows["eval_snr_db"].isna().all():
        raise ValueError(
            f"snr_db {snr_db:g} is none of an air with a link budget, which has its own; leave "
            "snr_db out"
        )
    lost_db = [loss_at_bandwidth_db(study, hz) for hz in rows["bandwidth_hz"]]
    received_db = rows["eval_snr_db"] - lost_db
    lower_db = received_db.where(received_db <= snr_db).groupby(rows["bandwidth_hz"])
    found: pd.DataFrame = rows[received_db == lower_db.transform("max")]
    if found.empty:
        lowest_db = received_db.min()
        raise ValueError(f"snr_db {snr_db:g} is below all evaluated ones, from {lowest_db:g} on")
    return found
