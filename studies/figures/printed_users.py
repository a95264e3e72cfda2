"""The picture of an emulation, by matplotlib: places, SINR and answers of its users."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .printed import plain
from .users import Users

_MARKERS = {"all answers right": "o", "some right": ".", "none right": "X"}
_COLOR = "#0b6e4f"


def users_figure(users: Users) -> Figure:
    """Users on the map, their accuracy by SINR, and how SINR is distributed."""
    figure = Figure(figsize=(12.4 if users.placed else 8.2, 4.4), layout="constrained")
    panels = list(figure.subplots(1, 3 if users.placed else 2))
    if users.placed:
        _map(figure, panels.pop(0), users)
    _accuracy(panels[0], users)
    panels[1].plot(users.places_db(users.table["sinr_db"]), users.shares, color=_COLOR)
    panels[1].set(title="users by SINR", xlabel="SINR (dB)", ylabel="fraction of users below")
    if users.ticks:
        for panel in panels:
            panel.set_xticks(list(users.ticks), list(users.ticks.values()))
    for panel in panels:
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    figure.suptitle(plain(users.heading))
    return figure


def _map(figure: Figure, panel: Axes, users: Users) -> None:
    """Draws users by SINR (color) and right answers (marker)."""
    low, high = np.quantile(users.places_db(users.table["sinr_db"]), [0.02, 0.98])
    shown = None
    for name, rows in users.by_answers.items():
        shown = panel.scatter(
            rows["x_m"], rows["y_m"], c=users.places_db(rows["sinr_db"]), marker=_MARKERS[name],
            s=16, vmin=low, vmax=high, cmap="viridis", linewidths=0.3, edgecolors="0.3", label=name,
        )  # fmt: skip
    if users.station_m is not None:
        panel.plot(*users.station_m, "^", color="#c1121f", markersize=9, label="base station")
    panel.set(title="places", xlabel="x (m)", ylabel="y (m)", aspect="equal")
    panel.legend(
        frameon=False, fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.2),
        columnspacing=0.8, handletextpad=0.1,
    )  # fmt: skip
    if shown is not None:
        bar = figure.colorbar(shown, ax=panel, label="SINR (dB)", shrink=0.8)
        if users.ticks:
            bar.set_ticks(list(users.ticks), labels=list(users.ticks.values()))


def _accuracy(panel: Axes, users: Users) -> None:
    bins, places_db = users.bins, users.places_db(users.bins["sinr_db"])
    reach = np.clip([bins["accuracy"] - bins["low"], bins["high"] - bins["accuracy"]], 0, None)
    panel.errorbar(places_db, bins["accuracy"], reach, fmt="o", color=_COLOR, capsize=2)
    panel.set(title="answers by SINR", xlabel="SINR (dB)", ylabel="accuracy", ylim=(0, 1))
