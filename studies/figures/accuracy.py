"""Charts of accuracy by SNR, by overhead and by group of questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from ..tables.columns import MAX_POWER, TableLayout
from ..tables.filters import without_references
from ..tables.frontier import pareto
from ..tables.summary import interval_note, swept
from .chart import NOISELESS, Chart, Line, Panel, noiseless_db
from .looks import Looks, budget_labels, line_labels, panel_titles

_USES = "uplink_channel_uses"
_TRAINING = "train_airtime_s"
_Y_LABEL = "test accuracy"
_MIN_SPAN_DB = 1.0
_MAX_TICKS = 10
"""An axis longer than so many distances of its closest places has no tick at each of them."""


def accuracy_by_snr(done: pd.DataFrame, summary: pd.DataFrame, layout: TableLayout) -> Chart:
    """Accuracy by evaluated SNR, a line for each method, token budget and bits of a value.

    Under a link budget, it is accuracy by transmit power if that is swept, or else by receive SNR.

    Args:
        done: Finished rows of ``results``.
        summary: Summary of these rows.
        layout: Layout of the tables.
    """

    def panel(title: str, lines: Sequence[Line], rows: pd.DataFrame) -> Panel:
        label = "SNR (dB)"
        if x == MAX_POWER:
            label = "transmit power (dBm)"
        elif rows["eval_snr_db"].isna().all():
            label = "receive SNR, linear mean (dB)"
        return Panel(
            title, label, lines, _levels(done, layout), ticks=_snr_ticks(rows),
            min_span=_MIN_SPAN_DB,
        )  # fmt: skip

    x, title = "snr_db", "Accuracy by SNR"
    if MAX_POWER in swept(summary, layout):
        x, title = MAX_POWER, "Accuracy by transmit power"
    rows, means = (_placed(frame, layout, x, "tokens") for frame in (done, summary))
    panels = _panels(rows, means, layout, panel)
    note = f"bars: {interval_note(summary)}"
    return Chart(title, x, "accuracy", _Y_LABEL, panels, note, apart=True)


def accuracy_by_overhead(done: pd.DataFrame, summary: pd.DataFrame, layout: TableLayout) -> Chart:
    """Accuracy by channel uses, a line for each method and evaluated SNR, with Pareto fronts."""
    label = "uplink channel uses per question"
    return _by_cost((done, summary), layout, "Accuracy by overhead", _USES, label)


def accuracy_by_training(done: pd.DataFrame, summary: pd.DataFrame, layout: TableLayout) -> Chart:
    """Accuracy by the airtime of training, drawn as in :func:`accuracy_by_overhead`."""
    label = "airtime of training (s)"
    return _by_cost((done, summary), layout, "Accuracy by training", _TRAINING, label)


def _by_cost(
    frames: tuple[pd.DataFrame, pd.DataFrame],
    layout: TableLayout,
    title: str,
    cost: str,
    label: str,
) -> Chart:
    """Accuracy by a column of costs.

    Args:
        frames: Finished rows of ``results``, and their summary.
        layout: Layout of the tables.
        title: Heading.
        cost: Column of the cost.
        label: Label of the horizontal axis.
    """
    done, summary = frames

    def panel(name: str, lines: Sequence[Line], rows: pd.DataFrame) -> Panel:
        x = rows["x"]
        wide = bool((x > 0).all() and x.max() > 20 * x.min())  # orders of magnitude
        fronts = [
            pareto(own, cost)[[cost, "accuracy"]].set_axis(["x", "y"], axis=1)
            for _, own in rows.groupby("snr", dropna=False)
        ]
        return Panel(name, label, lines, _levels(done, layout), fronts, log_x=wide)

    rows, means = (_placed(frame, layout, cost, "snr") for frame in frames)
    panels = _panels(rows, means, layout, panel)
    note = f"bars: {interval_note(summary)}"
    return Chart(title, cost, "accuracy", _Y_LABEL, panels, note)


def accuracy_by_group(
    done: pd.DataFrame, summaries: dict[str, pd.DataFrame], layout: TableLayout
) -> Chart:
    """Accuracy in each group of questions, at the highest evaluated SNR or transmit power.

    Args:
        done: Finished rows of ``results``.
        summaries: Summary of each group.
        layout: Layout of the tables.
    """
    ticks = {float(place): group for place, group in enumerate(summaries)}
    frames = [rows.assign(place=float(place)) for place, rows in enumerate(summaries.values())]
    every = pd.concat(frames, ignore_index=True)
    means, levels = _placed(every, layout, "place", "tokens"), _levels(every, layout, "place")
    level_db = means["eval_snr_db"].fillna(means[MAX_POWER])
    means = means[level_db.eq(level_db.groupby(means["panel"]).transform("max"))]

    def panel(title: str, lines: Sequence[Line], rows: pd.DataFrame) -> Panel:
        snr = rows["snr"].iloc[0]
        return Panel(f"{title}, {snr}", "", lines, levels, ticks=ticks)

    panels = _panels(means.iloc[:0], means, layout, panel)
    note = f"bars: {interval_note(means)}"
    return Chart(
        "Accuracy by group of questions", "group", "accuracy", _Y_LABEL, panels, note,
        kind="dots", apart=True,
    )  # fmt: skip


def _placed(rows: pd.DataFrame, layout: TableLayout, x: str, line: str) -> pd.DataFrame:
    """All rows but those of references, with the panel, line and place ``x`` of each.

    ``x`` and ``line`` name columns. An infinite SNR is to the right of all others. Transmit powers
    that are swept take the place of SNRs, since airs that have them are not asked for an SNR.
    """
    rows = without_references(rows, layout)
    nominal_db = rows["eval_snr_db"]
    right_db, powers = noiseless_db(nominal_db), MAX_POWER in swept(rows, layout)
    unasked = rows[MAX_POWER].map("{:g} dBm".format) if powers else "link budget"
    placed = rows.assign(
        panel=panel_titles(rows, layout),
        tokens=budget_labels(rows, layout),
        snr=nominal_db.map("{:g} dB".format).where(nominal_db.notna(), unasked),
        snr_db=nominal_db.fillna(rows["realised_snr_db"]).replace(math.inf, right_db),
    )
    return placed.assign(x=placed[x], line=line_labels(placed[line], rows, layout))


def _panels(
    rows: pd.DataFrame,
    means: pd.DataFrame,
    layout: TableLayout,
    panel: Callable[[str, Sequence[Line], pd.DataFrame], Panel],
) -> list[Panel]:
    """A panel for each title: lines of the means, and values of each seed.

    Args:
        rows: Placed rows of single seeds.
        means: Placed rows of their summary.
        layout: Layout of the tables.
        panel: Makes a panel from its title, its lines and its rows of the summary.
    """
    means = means.sort_values([*layout.budget_columns, "eval_snr_db", MAX_POWER])
    looks = Looks(layout.methods, means["line"])
    ends = {"accuracy": "y", "accuracy_low": "low", "accuracy_high": "high"}
    panels = []
    for title, own in means.groupby("panel", sort=False):
        lines = []
        for (method, name), points in own.groupby(["method", "line"], sort=False):
            seeds = rows[
                (rows["panel"] == title) & (rows["method"] == method) & (rows["line"] == name)
            ]
            shown = points.rename(columns=ends)[["x", *ends.values()]].sort_values("x")
            single = seeds[["x", "accuracy"]].set_axis(["x", "y"], axis=1)
            lines.append(Line(looks.of(str(method), str(name)), shown, single))
        panels.append(panel(str(title), lines, own))
    return panels


def _snr_ticks(rows: pd.DataFrame) -> dict[float, str]:
    """Labels of the evaluated SNRs, if there is room for them or one of them is infinite."""
    at = rows.dropna(subset="eval_snr_db").drop_duplicates("snr_db").sort_values("snr_db")
    span_db = at["snr_db"].max() - at["snr_db"].min()
    crowded = span_db > _MAX_TICKS * at["snr_db"].diff().min()
    if crowded and not np.isinf(at["eval_snr_db"]).any():
        return {}
    labels = [
        NOISELESS if math.isinf(snr_db) else f"{snr_db:g}".replace("-", "\N{MINUS SIGN}")
        for snr_db in at["eval_snr_db"]
    ]
    return dict(zip(at["snr_db"], labels, strict=True))


def _levels(
    rows: pd.DataFrame, layout: TableLayout, by: str | None = None
) -> dict[str, dict[float | None, float]]:
    """Accuracies of the references, the upper ones first.

    They are those of the references' own rows. Other rows have them as well, but in an unfinished
    study not as many of each seed.

    Args:
        rows: Rows of the references, and others.
        layout: Layout of the tables.
        by: Column of places that each have their own levels; None for levels across the panel.
    """
    levels: dict[str, dict[float | None, float]] = {}
    for reference in sorted(layout.references, key=lambda reference: reference.bound == "lower"):
        own = rows[rows["method"] == reference.method]
        if own.empty:
            continue
        if by is None:
            levels[reference.label] = {None: float(own["accuracy"].mean())}
        else:
            means = own.groupby(by)["accuracy"].mean()
            levels[reference.label] = dict(zip(means.index, means, strict=True))
    return levels
