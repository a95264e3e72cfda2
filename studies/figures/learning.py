"""How fast the methods learn: the task's loss by training step."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ..tables.columns import TableLayout
from .panels import Looks, add_legend, budget_labels, make_panels, panel_titles, without_references

_SMOOTHING_STEPS = 15


def learning_curves(curves: pd.DataFrame, layout: TableLayout) -> Figure:
    """Smoothed task loss by step of the phases that train it, a line per cell; no references.

    Args:
        curves: Rows of ``curves``.
        layout: Layout of the tables, whose first loss is drawn.
    """
    loss = layout.losses[0]
    steps = without_references(curves[curves[loss].notna()], layout)
    steps = steps.sort_values([*layout.condition[:-1], "seed", "step"])
    steps = steps.assign(panel=_titles(steps, layout), tokens=budget_labels(steps, layout))
    figure, panels = make_panels(steps["panel"].unique())
    looks = Looks(steps["method"], steps["tokens"])
    for (title, method, tokens, _), rows in steps.groupby(["panel", "method", "tokens", "cell"]):
        smooth = rows.set_index("step")[loss].rolling(_SMOOTHING_STEPS, min_periods=1).mean()
        panel, look = panels[str(title)], looks.of(str(method), str(tokens))
        panel.plot(smooth.index, smooth, look.line, color=look.colour, alpha=0.6, linewidth=1)
        panel.plot([], [], look.line, color=look.colour, label=look.label)
        panel.set_xlabel(f"{rows['phase'].iloc[0]} step")
    for panel in panels.values():
        panel.set_yscale("log")
    add_legend(figure, panels, f"{loss.replace('_', ' ')} loss ({_SMOOTHING_STEPS}-step mean)")
    return figure


def _titles(steps: pd.DataFrame, layout: TableLayout) -> pd.Series[str]:
    """Titles of the panels; with the phase, if several phases train this loss."""
    titles = panel_titles(steps, layout)
    return titles if steps["phase"].nunique() < 2 else steps["phase"] + ": " + titles
