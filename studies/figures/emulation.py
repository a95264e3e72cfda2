"""The figure of an emulation: location, SINR and answers of every user."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from channel_models import mean_db

from ..tables.statistics import clip_interval

_BINS = 6


def users_figure(devices: pd.DataFrame, answers: pd.DataFrame, title: str) -> Figure:
    """Users on the map, their accuracy by SINR, and how SINR is distributed.

    Users of whom nothing was sent or came through have no SINR, and are left out.

    Args:
        devices: Rows of ``devices`` of one emulated condition.
        answers: Rows of ``answers`` of the same condition.
        title: Name of the condition.
    """
    users = devices.groupby("user").agg(
        sinr_db=("realised_sinr_db", lambda sinrs_db: mean_db(sinrs_db.dropna().tolist())),
        accuracy=("accuracy", "first"),
        questions=("questions", "first"),
        x_m=("x_m", "first"),
        y_m=("y_m", "first"),
    )
    asked = len(users)
    users = users[np.isfinite(users["sinr_db"])]
    placed = bool(users["x_m"].notna().any())
    figure = Figure(figsize=(12.4 if placed else 8.2, 4.4), layout="constrained")
    panels = list(figure.subplots(1, 3 if placed else 2))
    if placed:
        _map(figure, panels.pop(0), users)
    _accuracy(panels[0], users, answers)
    ordered = np.sort(users["sinr_db"])
    panels[1].plot(ordered, np.linspace(0, 1, len(ordered)), color="#0b6e4f")
    panels[1].set(title="users by SINR", xlabel="SINR (dB)", ylabel="share below")
    for panel in panels:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    shown = f"{asked}" if len(users) == asked else f"{len(users)} of {asked}"
    figure.suptitle(f"{shown} users who asked: {title}")
    return figure


def _map(figure: Figure, panel: Axes, users: pd.DataFrame) -> None:
    """Draws users by SINR (colour) and right answers (crosses: none, discs: all)."""
    low, high = np.quantile(users["sinr_db"], [0.02, 0.98])
    shown = None
    for marker, name, chosen in (
        ("o", "all answers right", users["accuracy"] == 1),
        (".", "some right", (users["accuracy"] > 0) & (users["accuracy"] < 1)),
        ("X", "none right", users["accuracy"] == 0),
    ):
        rows = users[chosen]
        if len(rows):
            shown = panel.scatter(
                rows["x_m"], rows["y_m"], c=rows["sinr_db"], marker=marker, s=16, vmin=low,
                vmax=high, cmap="viridis", linewidths=0.3, edgecolors="0.3", label=name,
            )  # fmt: skip
    panel.plot([0], [0], "^", color="#c1121f", markersize=9, label="base station")
    panel.set(title="places", xlabel="x (m)", ylabel="y (m)", aspect="equal")
    panel.legend(
        frameon=False, fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2),
        columnspacing=0.8, handletextpad=0.1,
    )  # fmt: skip
    if shown is not None:
        figure.colorbar(shown, ax=panel, label="SINR (dB)", shrink=0.8)


def _accuracy(panel: Axes, users: pd.DataFrame, answers: pd.DataFrame) -> None:
    """Fraction of right answers in bins of equally many users, with 95 % intervals over clips."""
    bins = pd.qcut(users["sinr_db"], _BINS, duplicates="drop")
    for _, rows in users.groupby(bins, observed=True):
        right = float((rows["accuracy"] * rows["questions"]).sum())
        fraction = right / rows["questions"].sum()
        own = answers[answers["user"].isin(rows.index)]
        interval = clip_interval(own["media_id"].tolist(), own["right"].tolist())
        panel.errorbar(
            rows["sinr_db"].median(), fraction,
            np.clip([[fraction - interval.low], [interval.high - fraction]], 0, None),
            fmt="o", color="#0b6e4f", capsize=2,
        )  # fmt: skip
    panel.set(title="answers by SINR", xlabel="SINR (dB)", ylabel="accuracy", ylim=(0, 1))
