"""Panels, colours, lines and legends of all figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..tables.columns import TableLayout
from ..tables.summary import swept

_COLOURS = (
    *("#0b6e4f", "#c77700", "#8c2d5d", "#1f5fa8"),
    *("#4d4d4d", "#7a9e00", "#00808a", "#b04a3a"),
)
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "^", "s", "D", "v")
_SAID: dict[str, Callable[[Any], str]] = {
    "access": str,
    "bandwidth_hz": lambda hz: f"{hz / 1e6:g} MHz",
    "deadline_ms": lambda ms: f"deadline {ms:g} ms",
    "train_snr_db": lambda snr_db: f"trained at {snr_db:g} dB",
    "train_snr_span_db": lambda span_db: f"\N{PLUS-MINUS SIGN} {span_db / 2:g} dB",
}


@dataclass(frozen=True)
class Look:
    """Style of a line."""

    colour: str
    line: str
    marker: str
    label: str


class Looks:
    """Styles of a figure's lines: a colour for each method, a marker for each other value.

    Args:
        methods: All methods of the figure; the same methods always have the same colours.
        names: Other values, such as token budgets; up to twenty differ.
    """

    def __init__(self, methods: Iterable[str], names: Iterable[str]) -> None:
        self._methods = sorted({str(method) for method in methods})
        self._names = list(dict.fromkeys(str(name) for name in names))

    def of(self, method: str, name: str) -> Look:
        """The style of the line of a method and, say, a token budget; ``-`` for none."""
        number = self._names.index(name)
        return Look(
            _COLOURS[self._methods.index(method) % len(_COLOURS)],
            _LINES[number % len(_LINES)],
            _MARKERS[number % len(_MARKERS)],
            method if name == "-" else f"{method}, {name}",
        )


def panel_titles(rows: pd.DataFrame, layout: TableLayout) -> pd.Series[str]:
    """Title of each row's panel: the air and all other swept values.

    Except method, tokens and evaluated SNR, which colour, line and place show.
    """
    titles = rows["air"].fillna("-").astype(str)
    for name in swept(rows, layout):
        titles = titles + [", " + _SAID[name](v) if pd.notna(v) else "" for v in rows[name]]
    return titles


def budget_labels(rows: pd.DataFrame, layout: TableLayout) -> list[str]:
    """Label of each row's token budget; ``-`` in a study without budgets."""
    if not layout.budgets:
        return ["-"] * len(rows)
    records = rows[list(layout.budget_columns)].to_dict("records")
    return [f"{layout.budget_text(row)} tokens" for row in records]


def without_references(rows: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """The rows of methods that are no references."""
    return rows[~rows["method"].isin(layout.reference_methods)]


def make_panels(titles: Iterable[str]) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel for each title."""
    titles = [*titles] or ["-"]
    columns = 2 if len(titles) in (2, 4) else min(3, len(titles))
    lines = math.ceil(len(titles) / columns)
    size = (1.2 + 4.2 * max(columns, 1.3), 0.9 + 3.6 * lines)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for panel in grid.flat[len(titles) :]:
        panel.set_visible(False)
    panels = dict(zip(titles, grid.flat, strict=False))
    for title, panel in panels.items():
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure, panels


def add_legend(figure: Figure, panels: dict[str, Axes], y_label: str, note: str = "") -> None:
    """One legend for all panels."""
    named = {
        name: handle
        for panel in panels.values()
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.supylabel(y_label, fontsize=10)
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=3 if len(panels) > 1 else 2,
        frameon=False, fontsize=8, title=note, title_fontsize=8,
    )  # fmt: skip
