"""Accuracy by SNR and by overhead: a panel or a line for each swept value."""

from __future__ import annotations

import math
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from ..tables.columns import Reference, TableLayout
from ..tables.summary import interval_note
from .panels import (
    Look,
    Looks,
    add_legend,
    budget_labels,
    make_panels,
    panel_titles,
    without_references,
)

_REFERENCE_DASHES = ((4, 3), (1, 1), (3, 1, 1, 1))
_NOISELESS_GAP_DB = 5.0
_STEP_INCH = 0.055
"""Offset between lines at the same nominal SNR."""


def accuracy_by_snr(done: pd.DataFrame, summary: pd.DataFrame, layout: TableLayout) -> Figure:
    """Draws accuracy by evaluated SNR, a line for each method and token budget.

    Args:
        done: Finished rows of ``results``.
        summary: Summary of these rows.
        layout: Layout of the tables.
    """
    rows, means = (_placed(frame, layout, "snr_db", "tokens") for frame in (done, summary))
    figure, panels = _accuracy_figure(rows, means, layout, _STEP_INCH)
    for title, panel in panels.items():
        _tick_noiseless(panel, means[means["panel"] == title])
        panel.set_xlabel("SNR (dB)")
    return figure


def accuracy_by_overhead(done: pd.DataFrame, summary: pd.DataFrame, layout: TableLayout) -> Figure:
    """Draws accuracy by channel uses, a line for each method and evaluated SNR."""
    x = "uplink_channel_uses"
    rows, means = (_placed(frame, layout, x, "snr") for frame in (done, summary))
    figure, panels = _accuracy_figure(rows, means, layout, step_inch=0.0)
    for title, panel in panels.items():
        uses = means.loc[means["panel"] == title, "x"]
        if (uses > 0).all() and uses.max() > 20 * uses.min():  # orders of magnitude
            panel.set_xscale("log")
            panel.xaxis.set_minor_formatter(NullFormatter())
        panel.set_xlabel("uplink channel uses per question")
    return figure


def _placed(rows: pd.DataFrame, layout: TableLayout, x: str, line: str) -> pd.DataFrame:
    """All rows but those of references, with the panel, line and place ``x`` of each.

    ``x`` and ``line`` name columns; an infinite SNR is to the right of all others.
    """
    rows = without_references(rows, layout)
    nominal_db = rows["eval_snr_db"]
    finite = nominal_db[np.isfinite(nominal_db)]
    noiseless_db = (finite.max() if len(finite) else 0.0) + _NOISELESS_GAP_DB
    placed = rows.assign(
        panel=panel_titles(rows, layout),
        tokens=budget_labels(rows, layout),
        snr=["link budget" if math.isnan(snr) else f"{snr:g} dB" for snr in nominal_db],
        snr_db=nominal_db.fillna(rows["realised_snr_db"]).replace(math.inf, noiseless_db),
    )
    return placed.assign(x=placed[x], line=placed[line])


def _accuracy_figure(
    rows: pd.DataFrame, means: pd.DataFrame, layout: TableLayout, step_inch: float
) -> tuple[Figure, dict[str, Axes]]:
    """Methods by colour, bars for intervals, seeds as dots, references as levels.

    Args:
        step_inch: Offset between lines, so that their bars do not cover each other.
    """
    figure, panels = make_panels(means["panel"].unique())
    ordered = means.sort_values([*layout.budget_columns, "eval_snr_db"])
    looks = Looks(means["method"], ordered["line"])
    for title, panel in panels.items():
        lines = means[means["panel"] == title].groupby(["method", "line"], sort=False)
        for place, ((method, name), points) in enumerate(lines):
            seeds = rows[
                (rows["panel"] == title) & (rows["method"] == method) & (rows["line"] == name)
            ]
            look = looks.of(str(method), str(name))
            beside = _beside(panel, step_inch * (place - (len(lines) - 1) / 2))
            _draw_line(panel, points.sort_values("x"), seeds, look, beside)
        panel.autoscale_view()
        _draw_references(panel, rows, layout.references)
        panel.set_ylim(0, 1)
    add_legend(figure, panels, "test accuracy", f"bars: {interval_note(means)}")
    return figure, panels


def _beside(panel: Axes, inch: float) -> Transform:
    """Moves a line sideways."""
    offset = ScaledTranslation(inch, 0, panel.figure.dpi_scale_trans)
    return panel.transData + offset


def _draw_line(
    panel: Axes, points: pd.DataFrame, seeds: pd.DataFrame, look: Look, beside: Transform
) -> None:
    """Draws the mean at each place with its interval, if there is one, and the seeds."""
    x, mean = points["x"], points["accuracy"]
    panel.update_datalim(np.column_stack([x, mean]))  # lines that are moved do not set limits
    reach = [mean - points["accuracy_low"], points["accuracy_high"] - mean]
    panel.errorbar(
        x, mean, np.clip(reach, 0, None), color=look.colour, linestyle=look.line, linewidth=1.3,
        marker=look.marker, markersize=5, elinewidth=0.9, capsize=2, transform=beside,
    )  # fmt: skip
    panel.plot(
        seeds["x"], seeds["accuracy"], look.marker, color=look.colour, alpha=0.4, markersize=3,
        transform=beside,
    )  # fmt: skip
    panel.plot(
        [], [], look.line, marker=look.marker, color=look.colour, markersize=5, label=look.label
    )


def _tick_noiseless(panel: Axes, points: pd.DataFrame) -> None:
    """Labels the tick of an infinite SNR."""
    if np.isinf(points["eval_snr_db"]).any():
        at = points.drop_duplicates("snr_db").sort_values("snr_db")
        labels = ["∞" if math.isinf(s) else f"{s:g}" for s in at["eval_snr_db"]]
        panel.set_xticks(at["snr_db"], labels)


def _draw_references(panel: Axes, rows: pd.DataFrame, references: tuple[Reference, ...]) -> None:
    """Draws a level for each reference, the upper ones first."""
    styles = zip(references, cycle(_REFERENCE_DASHES), strict=False)
    for reference, dashes in sorted(styles, key=lambda style: style[0].bound == "lower"):
        level = rows[reference.column].mean()
        if not math.isnan(level):
            panel.axhline(
                level, color="0.45", linewidth=1, linestyle=(0, dashes), label=reference.label
            )
