"""Users of an emulation, as its figures show them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from channel_models import mean_db

from ..tables.statistics import clip_interval
from .chart import NOISELESS, noiseless_db

_BINS = 6


@dataclass(frozen=True, eq=False)
class Users:
    """Users who asked in one emulated condition.

    Attributes:
        title: Name of the condition.
        asked: Number of users who asked.
        table: ``user, x_m, y_m, sinr_db, accuracy, questions`` of the users from whom something
            arrived, by increasing SINR, which is infinite without noise; without places where the
            air has none.
        bins: ``sinr_db, accuracy, low, high`` of bins of equally many users, with 95 % intervals
            over clips.
        station_m: Place ``x, y`` of the base station among the users; None if it is not known.
    """

    title: str
    asked: int
    table: pd.DataFrame
    bins: pd.DataFrame
    station_m: tuple[float, float] | None = None

    @property
    def heading(self) -> str:
        """Title with the number of users who are shown."""
        shown = len(self.table)
        count = f"{shown}" if shown == self.asked else f"{shown} of {self.asked}"
        return f"{count} users who asked: {self.title}"

    @property
    def placed(self) -> bool:
        """Whether users have places."""
        return bool(self.table["x_m"].notna().any())

    def places_db(self, sinrs_db: pd.Series[float]) -> pd.Series[float]:
        """Places of some of the SINRs on an axis; that of an infinite one is to the right."""
        return sinrs_db.replace(math.inf, noiseless_db(self.table["sinr_db"]))

    @property
    def ticks(self) -> dict[float, str]:
        """Labels of such an axis by place if an SINR is infinite; empty if all are numbers."""
        sinrs_db = self.table["sinr_db"]
        if not np.isinf(sinrs_db).any():
            return {}
        finite = sinrs_db[np.isfinite(sinrs_db)]
        ends = {float(db): f"{db:.1f}" for db in (finite.min(), finite.max()) if len(finite)}
        return {**ends, noiseless_db(sinrs_db): NOISELESS}

    @property
    def shares(self) -> np.ndarray:
        """Fraction of users up to each row of the table."""
        return np.linspace(0, 1, len(self.table))

    @property
    def by_answers(self) -> dict[str, pd.DataFrame]:
        """The users by whether all, some or none of their answers are right."""
        accuracy = self.table["accuracy"]
        groups = {
            "all answers right": self.table[accuracy == 1],
            "some right": self.table[(accuracy > 0) & (accuracy < 1)],
            "none right": self.table[accuracy == 0],
        }
        return {name: rows for name, rows in groups.items() if len(rows)}


def users_of(
    devices: pd.DataFrame,
    answers: pd.DataFrame,
    title: str,
    station_m: tuple[float, float] | None = None,
) -> Users:
    """The users of an emulated condition.

    Args:
        devices: Rows of ``devices`` of the condition.
        answers: Rows of ``answers`` of it.
        title: Name of the condition.
        station_m: Place ``x, y`` of the base station among the users; None if it is not known.
    """
    users = devices.groupby("user").agg(
        x_m=("x_m", "first"),
        y_m=("y_m", "first"),
        sinr_db=("realised_sinr_db", lambda sinrs_db: mean_db(sinrs_db.dropna().tolist())),
        accuracy=("accuracy", "first"),
        questions=("questions", "first"),
    )
    table = users[users["sinr_db"] > -math.inf].sort_values("sinr_db").reset_index()
    return Users(title, len(users), table, _bins(table, answers), station_m)


def _bins(table: pd.DataFrame, answers: pd.DataFrame) -> pd.DataFrame:
    """Fraction of right answers in bins of equally many users."""
    bins = []
    places = table["sinr_db"].rank(method="min", pct=True)  # users with the same SINR stay together
    for _, rows in table.groupby((places * _BINS).apply(math.ceil)):
        given = answers[answers["user"].isin(rows["user"])]
        right = given["right"].astype(float)
        if right.notna().any():
            interval = clip_interval(given["media_id"].tolist(), given["right"].tolist())
            bins.append((rows["sinr_db"].median(), right.mean(), interval.low, interval.high))
    return pd.DataFrame(bins, columns=["sinr_db", "accuracy", "low", "high"])
