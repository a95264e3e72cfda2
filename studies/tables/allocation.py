"""Resource blocks and token lengths for users who share a band at SNRs of their own."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, Literal, get_args

import pandas as pd

from channel_models import InfeasibleBudgetError

from ..plan.numbers import listed_text
from ..plan.study import Study
from .affordable import LinkLimits, affordable
from .columns import TableLayout
from .filters import without_references
from .knapsack import Steps, apportioned, max_min, most_accurate

Policy = Literal["equal", "proportional", "accuracy", "max-min"]

_MAX_BLOCKS = 1_000_000
"""More resource blocks than any tokens fill."""


@dataclass(frozen=True)
class SharedBand:
    """A band whose resource blocks users share, and how long a question may take.

    Attributes:
        bandwidth_hz: Bandwidth of all users together.
        deadline_ms: Longest latency of a question.
        users_snr_db: SNR of each user at the receiver, the same for any number of blocks.
        by: How the blocks are shared, see :func:`allocate`.
    """

    bandwidth_hz: float
    deadline_ms: float
    users_snr_db: tuple[float, ...]
    by: Policy = "accuracy"

    def __post_init__(self) -> None:
        if not 0 < self.bandwidth_hz < math.inf:
            raise ValueError(f"bandwidth_hz {self.bandwidth_hz:g} should be positive and finite")
        if not self.deadline_ms > 0:
            raise ValueError(f"deadline_ms {self.deadline_ms:g} should be positive")
        if not self.users_snr_db:
            raise ValueError("users_snr_db should name the SNR of one user at least")
        if self.by not in get_args(Policy):
            raise ValueError(f"by {self.by!r} should be one of {', '.join(get_args(Policy))}")


def candidates(
    rows: pd.DataFrame, layout: TableLayout, method: str | None, air: str | None
) -> pd.DataFrame:
    """The conditions that a user may be given.

    Args:
        rows: Rows of :func:`studies.tables.affordable.measured`.
        layout: Layout of the tables.
        method: Label of the method; None for all.
        air: Label of the air; None for the only one that is evaluated by SNR.

    Raises:
        ValueError: if there are none, or if they are of several airs.
    """
    rows = without_references(rows, layout).dropna(subset=["eval_snr_db", "accuracy"])
    if rows.empty:
        raise ValueError("no finished cell on an air that is evaluated by SNR, as users need it")
    for name, label in (("method", method), ("air", air)):
        known = ", ".join(rows[name].unique())
        if label is not None:
            rows = rows[rows[name] == label]
        if rows.empty:
            raise ValueError(f"no finished cell of the {name} {label!r}; there are: {known}")
    if rows["air"].nunique() > 1:
        raise ValueError(f"users need one air; take one of {', '.join(rows['air'].unique())}")
    return rows


def allocate(
    study: Study, rows: pd.DataFrame, layout: TableLayout, band: SharedBand
) -> pd.DataFrame:
    """Resource blocks of each user, and the most accurate condition that they carry in time.

    All users send at once, each on blocks of its own, which its devices share as in the study. A
    user's conditions and accuracies are those that :func:`studies.tables.affordable.affordable`
    gives for a link as wide as its blocks: only measured ones, at the next lower evaluated SNR.
    ``band.by`` says how the blocks are shared:

    - ``equal``: the same number for each user; the rest stay empty.
    - ``proportional``: in proportion to the ``uplink_channel_uses`` of what each user would send if
      it had the band alone. Token symbols take the same number at any SNR; packets take fewer, the
      higher their rate is.
    - ``accuracy``: for the greatest mean accuracy of the users, with the fewest blocks.
    - ``max-min``: for the greatest accuracy of the worst user, then for the greatest mean.

    The mean of the column ``accuracy`` is the mean accuracy of the users. The means of
    ``accuracy_low`` and ``accuracy_high`` are an interval of it that holds even if the errors of
    all users are the same, as those of one network on the same questions nearly are.

    Args:
        study: The study.
        rows: Rows of :func:`candidates`.
        layout: Layout of the tables.
        band: The band, the deadline and the users.

    Returns:
        A row for each user: ``user`` from 1 on, its ``snr_db``, ``resource_blocks``,
        ``bandwidth_hz`` and ``deadline_ms``, then the columns of the summary.

    Raises:
        InfeasibleBudgetError: if some user cannot be served.
        ValueError: if a user's SNR is below all evaluated ones, or depends on the blocks; for a
            study of emulated users.
    """
    if study.emulate is not None:
        raise ValueError(
            "emulate: users of an emulation wait for each other, and no blocks are a user's own; "
            "allocate takes studies without emulate"
        )
    if study.power_mode == "fixed_power":
        raise ValueError(
            "power_mode fixed_power: the SNR of a user depends on its blocks; allocate takes "
            "studies with fixed_psd"
        )
    offers = _Offers(study, rows, layout, band)
    shares = list(zip(_blocks(offers, band), band.users_snr_db, strict=True))
    served = pd.concat([offers.best(*share) for share in shares], ignore_index=True)
    blocks = [count for count, _ in shares]
    first: dict[str, Any] = {
        "user": range(1, len(shares) + 1),
        "snr_db": band.users_snr_db,
        "resource_blocks": blocks,
        "bandwidth_hz": [count * offers.block_hz for count in blocks],
        "deadline_ms": band.deadline_ms,
    }
    return served.assign(**first)[[*first, *served.columns.difference([*first], sort=False)]]


def _blocks(offers: _Offers, band: SharedBand) -> tuple[int, ...]:
    """Resource blocks of each user.

    Raises:
        InfeasibleBudgetError: if they are too few for some user.
    """
    users_snr_db, total = band.users_snr_db, offers.total
    needed = [offers.fewest(snr_db) for snr_db in users_snr_db]
    if sum(needed) > total:
        raise InfeasibleBudgetError(
            f"users at {listed_text(users_snr_db)} dB need {listed_text(needed)} resource blocks "
            f"for deadline_ms {band.deadline_ms:g}, {sum(needed)} in all, and bandwidth_hz "
            f"{band.bandwidth_hz:g} has {total}; take {sum(needed) * offers.block_hz:g} or more, "
            "or a longer deadline_ms"
        )
    if band.by == "accuracy":
        return most_accurate([offers.steps(snr_db) for snr_db in users_snr_db], total)
    if band.by == "max-min":
        return max_min([offers.steps(snr_db) for snr_db in users_snr_db], total)
    if band.by == "equal":
        blocks = (total // len(needed),) * len(needed)
    else:
        alone = [offers.best(total, snr_db) for snr_db in users_snr_db]
        blocks = apportioned([float(row["uplink_channel_uses"].item()) for row in alone], total)
    for user, (count, least) in enumerate(zip(blocks, needed, strict=True)):
        if count < least:
            raise InfeasibleBudgetError(
                f"by {band.by}, user {user + 1} at {users_snr_db[user]:g} dB has {count} of the "
                f"{total} resource blocks and needs {least} for deadline_ms {band.deadline_ms:g}; "
                "take by accuracy, which serves all, or more bandwidth_hz"
            )
    return blocks


class _Offers:
    """What resource blocks carry in time at an SNR.

    Args:
        study: The study.
        rows: Rows of :func:`candidates`.
        layout: Layout of the tables.
        band: The band, the deadline and the users.
    """

    def __init__(
        self, study: Study, rows: pd.DataFrame, layout: TableLayout, band: SharedBand
    ) -> None:
        link = study.link_at(band.bandwidth_hz)
        self.total = link.resource_blocks
        self.block_hz = link.block_hz
        self._deadline_ms = band.deadline_ms
        self._study = study
        self._rows = rows
        self._layout = layout
        self._known: dict[tuple[int, float], pd.DataFrame] = {}

    def best(self, blocks: int, snr_db: float) -> pd.DataFrame:
        """The row of the most accurate condition.

        Raises:
            InfeasibleBudgetError: if nothing is carried in time.
        """
        if (blocks, snr_db) not in self._known:
            limits = LinkLimits(blocks * self.block_hz, self._deadline_ms, snr_db)
            carried = affordable(self._study, self._rows, self._layout, limits)
            self._known[blocks, snr_db] = carried.nlargest(1, "accuracy")
        return self._known[blocks, snr_db]

    def fewest(self, snr_db: float) -> int:
        """The fewest blocks that carry anything in time.

        Raises:
            InfeasibleBudgetError: if none do.
        """
        enough = bool(self.total) and self._serves(self.total, snr_db)
        max_blocks = self.total if enough else _MAX_BLOCKS
        try:
            self.best(max_blocks, snr_db)
        except InfeasibleBudgetError as error:
            raise InfeasibleBudgetError(f"a user at {snr_db:g} dB alone: {error}") from None
        return bisect_left(range(max_blocks), True, 1, key=lambda n: self._serves(n, snr_db))

    def steps(self, snr_db: float) -> Steps:
        """Each accuracy that is possible in the band, by the fewest blocks that give it."""
        accuracies: dict[int, float] = {}
        blocks = self.fewest(snr_db)
        while blocks <= self.total:
            accuracies[blocks] = self._accuracy(blocks, snr_db)
            every = range(self.total + 1)
            blocks = bisect_right(
                every, accuracies[blocks], blocks, key=lambda more: self._accuracy(more, snr_db)
            )
        return accuracies

    def _accuracy(self, blocks: int, snr_db: float) -> float:
        return float(self.best(blocks, snr_db)["accuracy"].item())

    def _serves(self, blocks: int, snr_db: float) -> bool:
        try:
            self.best(blocks, snr_db)
        except InfeasibleBudgetError:
            return False
        return True
