"""What a finished study has measured that a link can carry."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import pandas as pd

from actors import share_of
from channel_models import InfeasibleBudgetError, Link

from ..plan.budgets import loss_at_bandwidth_db
from ..plan.study import Study
from .columns import TableLayout
from .files import Tables
from .filters import without_references
from .findings import Findings
from .lateness import lateness

_SENDERS, _LATENCIES = "senders", "latencies_ms"
"""Columns of :func:`measured` that are in no other table."""


@dataclass(frozen=True)
class LinkLimits:
    """A link that users share, and how long a question may take.

    Attributes:
        bandwidth_hz: Bandwidth of all users together.
        deadline_ms: Longest latency of a question; None if any will do.
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


@dataclass(frozen=True)
class _Sender:
    """What a device sends for a question.

    Attributes:
        device: Name of the device.
        channel_uses: Mean number of its data symbols.
        energy_mj: Energy that it radiates.
    """

    device: str
    channel_uses: float
    energy_mj: float


def measured(findings: Findings) -> pd.DataFrame:
    """The conditions of a study's methods, with what else :func:`affordable` needs.

    That is what each device sends for a question or, in an emulation, the latency of every
    question.

    Raises:
        ValueError: if no cell of a method has finished.
    """
    layout = findings.tables.layout
    summary = without_references(findings.summary, layout)
    if summary.empty:
        raise ValueError("no finished cell of a method; 'tokcom study resume' runs what is missing")
    cells = without_references(findings.done, layout)["cell"].unique()
    of = _senders if findings.study.emulate is None else _latencies
    return summary.merge(of(findings.tables, list(cells)), "left", list(layout.condition))


def _senders(tables: Tables, cells: Sequence[str]) -> pd.DataFrame:
    """What each device sends in each condition, the mean over seeds."""
    condition = list(tables.layout.condition)
    names = ["uplink_channel_uses", "energy_mj"]
    devices = tables.read_all_devices(cells).groupby([*condition, "device"], dropna=False)
    means = devices[names].mean().reset_index()
    senders: list[Any] = [_Sender(*values) for values in means[["device", *names]].to_numpy()]
    means[_SENDERS] = senders
    return means.groupby(condition, dropna=False)[_SENDERS].agg(tuple).reset_index()


def _latencies(tables: Tables, cells: Sequence[str]) -> pd.DataFrame:
    """The latencies of all questions in each condition, over all seeds."""
    condition = list(tables.layout.condition)
    answers = tables.read_all_answers(cells, [*condition, "latency_ms"])
    latencies = answers.groupby(condition, dropna=False)["latency_ms"].agg(tuple)
    return latencies.rename(_LATENCIES).reset_index()


def affordable(
    study: Study, rows: pd.DataFrame, layout: TableLayout, limits: LinkLimits
) -> pd.DataFrame:
    """The conditions that a link carries in time, the most accurate of each air and SNR first.

    The measured airtime of a question is scaled to a user's share of the band: by the time that its
    mean numbers of symbols take there, over the time that they take on the link of the measurement.
    These times are those of the slowest device or, with ``tdma``, of all devices in turn. The
    energy of each device is scaled by its own airtime in the same way. The rest of the latency,
    such as computing, stays as it is. For an SNR between two at which a condition was measured, the
    lower one is returned.

    Emulated users wait for each other, so nothing follows from them for another bandwidth. What was
    measured holds unchanged at its own bandwidth, and is in time by
    :func:`studies.tables.lateness.lateness`.

    Args:
        study: The study.
        rows: Rows of :func:`measured`, or some of them.
        layout: Layout of the tables.
        limits: The link and the deadline.

    Returns:
        Rows of the summary, with ``airtime_ms``, ``latency_ms`` and ``energy_mj`` on this link. All
        of them meet ``deadline_ms``, that of the limits; it is NaN if there is none.

    Raises:
        InfeasibleBudgetError: if the link carries nothing of what was measured.
        ValueError: if nothing was measured at an SNR as low as this, or for a link other than that
            of an emulation.
    """
    emulated = study.emulate is not None
    carried = _as_emulated(rows, limits) if emulated else _on_link(study, rows, limits)
    apart = [name for name in layout.condition if name != "deadline_ms"]
    carried = carried.drop_duplicates(apart)
    if limits.snr_db is not None:
        carried = _at_snr(study, carried, [n for n in apart if n != "eval_snr_db"], limits.snr_db)
    rows = carried[carried["latency_ms"].notna()]  # something was answered
    if rows.empty:
        raise InfeasibleBudgetError("no question was answered on a link like this one")
    in_time = rows[[_in_time(row, limits.deadline_ms) for row in rows.to_dict("records")]]
    if in_time.empty:
        raise InfeasibleBudgetError(
            f"nothing that was measured takes {limits.deadline_ms:g} ms or less on this link; the "
            f"shortest takes {rows['latency_ms'].min():.3g} ms"
            f"{' in the mean' if emulated else ''}"
        )
    best = ["air", "eval_snr_db", "accuracy"]
    deadline_ms = math.nan if limits.deadline_ms is None else limits.deadline_ms
    in_time = in_time.assign(deadline_ms=deadline_ms, meets_deadline=1.0)
    in_time = in_time.drop(columns=[_SENDERS, _LATENCIES], errors="ignore")
    return in_time.sort_values(best, ascending=[True, True, False], ignore_index=True)


def _in_time(row: dict[Any, Any], deadline_ms: float | None) -> bool:
    latencies_ms = row.get(_LATENCIES, (row["latency_ms"],))
    return bool(lateness(deadline_ms, latencies_ms)["meets_deadline"])


def _as_emulated(rows: pd.DataFrame, limits: LinkLimits) -> pd.DataFrame:
    """The conditions at a bandwidth that was emulated.

    Raises:
        ValueError: if this one was not, or if the limits share it among several users.
    """
    if limits.users > 1:
        raise ValueError(
            f"users {limits.users}: in this study emulated users share the band already; leave "
            "users out"
        )
    emulated = rows[rows["bandwidth_hz"] == limits.bandwidth_hz]
    if limits.deadline_ms is not None and emulated[_LATENCIES].isna().any():
        raise ValueError(
            "the answers of some emulations were removed, so it is not known how many answers are "
            "in time; leave the deadline out, or remove their results as well, and 'tokcom study "
            "resume' makes both"
        )
    if emulated.empty:
        known = ", ".join(f"{hz:g}" for hz in sorted(rows["bandwidth_hz"].unique()))
        raise ValueError(
            f"bandwidth_hz {limits.bandwidth_hz:g} was not emulated, and how long users wait for "
            f"each other follows from no other one; there are: {known}; emulate it as well, by "
            "'tokcom study run' with a further bandwidth_hz"
        )
    return emulated


def _on_link(study: Study, rows: pd.DataFrame, limits: LinkLimits) -> pd.DataFrame:
    """The conditions that a user's share of a link carries, with their costs on it.

    An air with a link budget spreads its power over the share, as every device does with
    ``fixed_power``. On a share narrower than the measured band the SNR is higher, so that the
    accuracy is at least the measured one. Such a condition is left out if the share is wider and
    nobody asks for an SNR.

    Raises:
        InfeasibleBudgetError: if the share carries none.
    """
    carried: list[dict[Any, Any]] = []
    reasons = []
    for row in rows.to_dict("records"):
        senders: Sequence[_Sender] = row[_SENDERS]
        try:
            share = _share(study, len(senders), limits)
        except InfeasibleBudgetError as error:
            reasons.append(str(error))
            continue
        before = study.link_at(row["bandwidth_hz"])
        spread = math.isnan(row["eval_snr_db"]) or (
            study.power_mode == "fixed_power" and limits.snr_db is None
        )
        if spread and share.bandwidth_hz > before.bandwidth_hz:
            reasons.append(_thinner(row, share.bandwidth_hz, limits.users))
            continue
        slower, more_energy = _slower(before, share, senders)
        airtime_ms, energy_mj = row["airtime_ms"] * slower, row["energy_mj"] * more_energy
        rest_ms = row["latency_ms"] - row["airtime_ms"]  # 0 where computing takes no time
        latency_ms = airtime_ms + rest_ms
        costs = {"airtime_ms": airtime_ms, "energy_mj": energy_mj, "latency_ms": latency_ms}
        carried.append({**row, **costs})
    if not carried:
        raise InfeasibleBudgetError(reasons[0])
    return pd.DataFrame(carried).astype(cast(Any, rows.dtypes.to_dict()))


def _thinner(row: dict[Any, Any], share_hz: float, users: int) -> str:
    """The reason why what was measured with a fixed power does not hold on a wider band."""
    measured_hz, air = row["bandwidth_hz"], row["air"]
    budgeted = math.isnan(row["eval_snr_db"])
    power = f"air {air!r} has a link budget" if budgeted else "power_mode is fixed_power"
    other = "" if budgeted else ", or say the SNR at the receiver"
    return (
        f"{power}, whose SNR on {share_hz:g} Hz is lower than on the {measured_hz:g} that were "
        f"measured; take {users * measured_hz:g} or less, or run the study with a further "
        f"bandwidth_hz{other}"
    )


def _share(study: Study, devices: int, limits: LinkLimits) -> Link:
    """A user's share of the link.

    Raises:
        InfeasibleBudgetError: if it is too narrow.
    """
    link = study.link_at(limits.bandwidth_hz)
    try:
        return share_of(link, limits.users, devices)
    except InfeasibleBudgetError:
        least_hz = limits.users * link.block_hz * (devices if link.access == "ofdma" else 1)
        each = f" of each of {limits.users} users" if limits.users > 1 else ""
        raise InfeasibleBudgetError(
            f"a bandwidth of {limits.bandwidth_hz:g} Hz is too little for {devices} devices{each}; "
            f"take {least_hz:g} or more"
        ) from None


def _slower(before: Link, share: Link, senders: Sequence[_Sender]) -> tuple[float, float]:
    """Factors by which airtime and energy of a question change on a share of the band."""
    names, uses = [sender.device for sender in senders], [sender.channel_uses for sender in senders]
    costs = [link.costs(uses, len(set(names))) for link in (before, share)]
    old_ms, new_ms = (
        link.joint_airtime_ms(names, each)
        for link, each in zip((before, share), costs, strict=True)
    )
    energy_mj = sum(sender.energy_mj for sender in senders)
    more_mj = sum(
        sender.energy_mj * new.airtime_ms / old.airtime_ms
        for sender, old, new in zip(senders, *costs, strict=True)
        if sender.energy_mj
    )
    return (new_ms / old_ms if old_ms else 1.0), (more_mj / energy_mj if energy_mj else 1.0)


def _at_snr(study: Study, rows: pd.DataFrame, condition: list[str], snr_db: float) -> pd.DataFrame:
    """Every condition at the highest SNR up to ``snr_db`` that it was measured at.

    An unfinished study may have measured some conditions at fewer SNRs than others. Conditions of
    airs with a link budget are left out: nobody asks for their SNRs.

    Args:
        study: The study.
        rows: Rows of conditions at each of their SNRs.
        condition: Columns that identify a condition, without its SNR.
        snr_db: SNR at the receiver.

    Raises:
        ValueError: if there is none.
    """
    if rows["eval_snr_db"].isna().all():
        raise ValueError(
            f"snr_db {snr_db:g} is none of an air with a link budget, which has its own; leave "
            "snr_db out"
        )
    lost_db = [loss_at_bandwidth_db(study, hz) for hz in rows["bandwidth_hz"]]
    received_db = rows["eval_snr_db"] - lost_db
    lower = rows.assign(received_db=received_db.where(received_db <= snr_db))
    highest_db = lower.groupby(condition, dropna=False)["received_db"].transform("max")
    highest: pd.DataFrame = rows[received_db == highest_db]
    if highest.empty:
        lowest_db = received_db.min()
        raise ValueError(f"snr_db {snr_db:g} is below all evaluated ones, from {lowest_db:g} on")
    return highest
