"""The pictures of a study, drawn from its tables: a panel or a line for whatever is swept."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform

from ..plan.methods import FLOORS
from ..tables.columns import CONDITION
from ..tables.summary import interval_note, swept

_COLOURS = {
    "aligned": "#0b6e4f",
    "reconstruction": "#c77700",
    "unaligned": "#8c2d5d",
    "digital": "#1f5fa8",
    "raw-upload": "#4d4d4d",
}
_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "^", "s", "D", "v")
_SAID: dict[str, Callable[[Any], str]] = {
    "access": str,
    "bandwidth_hz": lambda hz: f"{hz / 1e6:g} MHz",
    "deadline_ms": lambda ms: f"deadline {ms:g} ms",
    "train_snr_db": lambda snr_db: f"trained at {snr_db:g} dB",
}
_SMOOTHING_STEPS = 15
_NOISELESS_GAP_DB = 5.0
_STEP_INCH = 0.055
"""Between lines that meet at one place."""


def accuracy_by_snr(done: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Lines join the evaluated SNRs of a method and token budget.

    Args:
        done: the finished rows of ``results``.
        summary: of these rows.
    """
    return _accuracy_figure(done, summary, "snr_db", "tokens", "SNR (dB)")


def accuracy_by_overhead(done: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Lines join the token budgets of a method at one evaluated SNR; arguments as there."""
    label = "uplink channel uses per question"
    return _accuracy_figure(done, summary, "uplink_channel_uses", "snr", label)


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Smoothed task loss by step, a line per cell; the floors left out.

    Args:
        curves: rows of ``curves``.
    """
    tuning = curves[(curves["stage"] == "fine-tuning") & ~curves["method"].isin(FLOORS)]
    tuning = _told_apart(tuning.sort_values([*CONDITION[:-1], "seed", "step"]))
    figure, panels = _panels(tuning["panel"].unique())
    styles = _styles(tuning["tokens"].unique())
    for (title, method, tokens, _), rows in tuning.groupby(["panel", "method", "tokens", "cell"]):
        smooth = rows.set_index("step")["task"]
        smooth = smooth.rolling(_SMOOTHING_STEPS, min_periods=1).mean()
        colour, style = _COLOURS.get(str(method), "0.5"), styles[str(tokens)][0]
        panels[str(title)].plot(smooth.index, smooth, style, color=colour, alpha=0.6, linewidth=1)
        panels[str(title)].plot([], [], style, color=colour, label=f"{method}, {tokens}")
    for panel in panels.values():
        panel.set(xlabel="fine-tuning step", yscale="log")
    _finish(figure, panels, f"task loss ({_SMOOTHING_STEPS}-step mean)")
    return figure


def panel_titles(rows: pd.DataFrame) -> pd.Series[str]:
    """The air of each row, and what else the rows are swept over: alike for no two conditions.

    All but method, tokens and evaluated SNR, which are told by colour, line and place.
    """
    titles = rows["air"].fillna("-").astype(str)
    for name in swept(rows):
        titles = titles + [", " + _SAID[name](v) if pd.notna(v) else "" for v in rows[name]]
    return titles


def _told_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """With the panel of each row, and its token budget in words."""
    budgets = zip(rows["tokens_audio"], rows["tokens_vision"], strict=True)
    tokens = [f"{a:g}+{v:g} tokens" if pd.notna(a) else "unknown tokens" for a, v in budgets]
    return rows.assign(panel=panel_titles(rows), tokens=tokens)


def _accuracy_figure(
    done: pd.DataFrame, summary: pd.DataFrame, x: str, line: str, label: str
) -> Figure:
    """Methods by colour, bars for intervals, seeds as dots."""
    rows, means = (_placed(frame[~frame["method"].isin(FLOORS)]) for frame in (done, summary))
    figure, panels = _panels(means["panel"].unique())
    by_budget = ["tokens_audio", "tokens_vision", "eval_snr_db"]
    styles = _styles(means.sort_values(by_budget)[line].unique())
    for title, panel in panels.items():
        own = means[means["panel"] == title]
        lines = own.groupby(["method", line], sort=False)
        for place, ((method, name), points) in enumerate(lines):
            chosen = (rows["panel"] == title) & (rows["method"] == method) & (rows[line] == name)
            beside = _beside(panel, place - (len(lines) - 1) / 2)
            colour, style = _COLOURS.get(str(method), "0.5"), styles[str(name)]
            _draw_line(panel, points.sort_values(x), rows[chosen], x, colour, style, beside)
            panel.plot(
                [], [], style[0], marker=style[1], color=colour, markersize=5,
                label=f"{method}, {name}",
            )  # fmt: skip
        panel.autoscale_view()
        _scale(panel, own, x)
        _draw_floors(panel, done)
        panel.set(xlabel=label, ylim=(0, 1))
    _finish(figure, panels, "test accuracy", f"bars: {interval_note(means)}")
    return figure


def _placed(rows: pd.DataFrame) -> pd.DataFrame:
    """With words and places for the evaluated SNRs; no noise stands to the right of all others."""
    nominal_db = rows["eval_snr_db"]
    finite = nominal_db[np.isfinite(nominal_db)]
    noiseless_db = (finite.max() if len(finite) else 0.0) + _NOISELESS_GAP_DB
    words = ["link budget" if math.isnan(snr) else f"{snr:g} dB" for snr in nominal_db]
    placed = nominal_db.fillna(rows["realised_snr_db"]).replace(math.inf, noiseless_db)
    return _told_apart(rows).assign(snr=words, snr_db=placed)


def _beside(panel: Axes, steps: float) -> Transform:
    """Moves a line sideways, so that its bars do not lie on those of another one."""
    offset = ScaledTranslation(steps * _STEP_INCH, 0, panel.figure.dpi_scale_trans)
    return panel.transData + offset


def _draw_line(
    panel: Axes,
    points: pd.DataFrame,
    seeds: pd.DataFrame,
    x: str,
    colour: str,
    style: tuple[str, str],
    beside: Transform,
) -> None:
    """A mean at each place with its interval, where there is one, and the seeds."""
    mean = points["accuracy"]
    panel.update_datalim(np.column_stack([points[x], mean]))  # lines that are moved tell no limits
    reach = [mean - points["accuracy_low"], points["accuracy_high"] - mean]
    line, marker = style
    panel.errorbar(
        points[x], mean, np.clip(reach, 0, None), color=colour, linestyle=line, linewidth=1.3,
        marker=marker, markersize=5, elinewidth=0.9, capsize=2, transform=beside,
    )  # fmt: skip
    panel.plot(
        seeds[x], seeds["accuracy"], marker, color=colour, alpha=0.4, markersize=3,
        transform=beside,
    )  # fmt: skip


def _scale(panel: Axes, points: pd.DataFrame, x: str) -> None:
    """Channel uses of orders of magnitude are logarithmic; no noise is no number of decibels."""
    if x == "snr_db":
        if np.isinf(points["eval_snr_db"]).any():
            at = points.drop_duplicates("snr_db").sort_values("snr_db")
            labels = ["∞" if math.isinf(s) else f"{s:g}" for s in at["eval_snr_db"]]
            panel.set_xticks(at["snr_db"], labels)
    elif (points[x] > 0).all() and points[x].max() > 20 * points[x].min():
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())


def _draw_floors(panel: Axes, done: pd.DataFrame) -> None:
    for column, name, style in (
        ("text_oracle_accuracy", "text oracle", (0, (1, 1))),
        ("blind_accuracy", "blind", (0, (4, 3))),
    ):
        level = done[column].mean()
        if not math.isnan(level):
            panel.axhline(level, color="0.45", linewidth=1, linestyle=style, label=name)


def _styles(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Line style and marker of each name; twenty are told apart."""
    return {
        str(name): (_STYLES[i % len(_STYLES)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(names)
    }


def _panels(titles: Iterable[str]) -> tuple[Figure, dict[str, Axes]]:
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


def _finish(figure: Figure, panels: dict[str, Axes], y_label: str, note: str = "") -> None:
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
