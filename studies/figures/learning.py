"""Charts of how fast the methods learn: losses by training step."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..tables.columns import MAX_POWER, TableLayout
from ..tables.filters import without_references
from ..tables.summary import swept
from .chart import Chart, Line, Panel
from .looks import (
    Looks,
    budget_labels,
    line_labels,
    panel_titles,
    with_values,
)

_SMOOTHING_STEPS = 15
_MAX_POINTS = 300
_CURVE = ["panel", "line", "cell"]


def curve_columns(layout: TableLayout) -> list[str]:
    """The columns of ``curves`` that the charts are made from."""
    return [*layout.cell_columns, "phase", "step", *layout.losses]


def learning_curves(curves: pd.DataFrame, layout: TableLayout) -> Chart:
    """Smoothed task loss by step of the phases that train it, a line per cell; no references.

    Args:
        curves: Rows of ``curves`` with at least :func:`curve_columns`, and ``eval_snr_db``: the SNR
            of a network that is trained at the one SNR that it is tested at; NaN for others.
        layout: Layout of the tables, whose first loss is drawn.
    """
    loss = layout.losses[0]
    panels = _panels(curves[curves[loss].notna()], loss, layout)
    name = f"{loss.replace('_', ' ')} loss ({_SMOOTHING_STEPS}-step mean)"
    return Chart("Learning curves", "step", f"{loss}_loss", name, panels, kind="curves")


def earlier_phases(curves: pd.DataFrame, layout: TableLayout) -> Chart:
    """Smoothed sum of the losses by step of the phases that do not train the task.

    An alignment is such a phase. In all else it is like :func:`learning_curves`. A step that lacks
    one of its phase's losses, such as one that has diverged, has no sum.
    """
    known = curves[layout.losses[0]].notna()
    trains_task = known.groupby([curves["cell"], curves["phase"]]).transform("any")
    steps = curves[~trains_task]
    losses = steps[list(layout.losses)]
    trained = losses.notna().groupby([steps["cell"], steps["phase"]]).transform("any")
    steps = steps.assign(loss=losses.where(trained, 0.0).sum(axis=1, skipna=False))
    steps = steps[trained.any(axis=1)]
    name = f"sum of losses ({_SMOOTHING_STEPS}-step mean)"
    panels = _panels(steps, "loss", layout)
    return Chart("Earlier phases", "step", "loss", name, panels, kind="curves")


def _panels(steps: pd.DataFrame, loss: str, layout: TableLayout) -> list[Panel]:
    steps = without_references(steps, layout)
    steps = steps.sort_values([*layout.condition[:-1], "seed", "cell", "step"])
    names = line_labels(budget_labels(steps, layout), steps, layout)
    names = with_values(names, steps["eval_snr_db"], "dB")
    if MAX_POWER in swept(steps, layout):
        names = with_values(names, steps[MAX_POWER], "dBm")
    steps = steps.assign(panel=_titles(steps, layout), line=names)
    steps = steps.assign(x=steps["step"].astype(float), y=_smooth(steps, loss))
    looks = Looks(layout.methods, steps["line"])
    return [
        Panel(str(title), f"{rows['phase'].iloc[0]} step", _lines(rows, looks))
        for title, rows in steps.groupby("panel", sort=False)
    ]


def _lines(rows: pd.DataFrame, looks: Looks) -> list[Line]:
    """A line for each cell; the rows of a cell follow each other."""
    starts = np.flatnonzero(rows["cell"].ne(rows["cell"].shift()))
    first, points = rows.iloc[starts], rows[["x", "y"]]
    found = []
    for method, name, seed, start, end in zip(
        first["method"], first["line"], first["seed"], starts, [*starts[1:], len(rows)], strict=True
    ):
        own = _thin(points.iloc[start:end])
        found.append(Line(looks.of(str(method), str(name)), own, seed=seed))
    return found


def _smooth(steps: pd.DataFrame, loss: str) -> pd.Series[float]:
    """Mean over the last steps of the same curve; NaN where a loss is not finite."""
    by_curve = steps.groupby(_CURVE, sort=False)[loss]
    mean = by_curve.rolling(_SMOOTHING_STEPS, min_periods=1).mean()
    return mean.droplevel(list(range(len(_CURVE)))).where(np.isfinite(steps[loss]))


def _thin(points: pd.DataFrame) -> pd.DataFrame:
    """All points, or evenly spaced ones if there are many; always with the last one."""
    every = -(-len(points) // _MAX_POINTS)
    return points.iloc[(len(points) - 1) % every :: every]


def _titles(steps: pd.DataFrame, layout: TableLayout) -> pd.Series[str]:
    """Titles of the panels; with the phase, if there are several."""
    titles = panel_titles(steps, layout)
    return titles if steps["phase"].nunique() < 2 else steps["phase"] + ": " + titles
