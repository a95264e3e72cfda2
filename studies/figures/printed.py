"""Charts on paper and in PNG files, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from matplotlib.transforms import ScaledTranslation, Transform
from numpy.typing import NDArray

from .chart import Chart, Line, Panel
from .looks import Look

_LEVEL_DASHES = ((4, 3), (1, 1), (3, 1, 1, 1))
_STEP_INCH = 0.055
"""Offset between lines that share their places."""
_LEGEND_LINE_INCH = 0.17


@dataclass(frozen=True)
class Style:
    """How figures are printed.

    Attributes:
        suffix: File type.
        columns: Maximum number of panels beside each other.
        panel_inch: Width and height of a panel.
        settings: Settings of matplotlib.
    """

    suffix: str
    columns: int
    panel_inch: tuple[float, float]
    settings: dict[str, Any]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Figures are drawn and saved inside."""
        with matplotlib.rc_context(cast(Any, self.settings)):
            yield


SCREEN = Style(
    ".png",
    3,
    (4.2, 3.6),
    {
        "savefig.dpi": 130,
        "figure.labelsize": 10,
        "axes.titlesize": 10,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
    },
)
STYLES = {
    "ieee": Style(
        ".pdf",
        1,
        (3.5, 2.4),  # a column of IEEE's journals
        {
            "font.family": "STIXGeneral",
            "mathtext.fontset": "stix",
            "font.size": 8,
            "figure.labelsize": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.title_fontsize": 7,
            "lines.markersize": 3,
            "pdf.fonttype": 42,  # fonts that can be edited and searched
        },
    ),
}
"""Styles of figures for publications, by name."""


def style_of(name: str | None) -> Style | None:
    """The style of this name; None for None.

    Raises:
        ValueError: if there is no such style.
    """
    if name is not None and name not in STYLES:
        raise ValueError(f"no style {name!r} of figures; there are: {', '.join(STYLES)}")
    return None if name is None else STYLES[name]


def plain(text: str) -> str:
    """Text of a study as matplotlib takes it: no formulas, and no label that a legend leaves out.

    It would read what stands between two dollars as a formula, and hides labels that begin with an
    underscore.
    """
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def draw(chart: Chart, style: Style = SCREEN) -> Figure:
    """Methods by colour, bars for intervals, seeds as dots, references as levels."""
    figure, axes = _axes(len(chart.panels) or 1, style)
    for panel, own in zip(chart.panels, axes, strict=False):
        _draw_panel(own, panel, chart)
    figure.supylabel(chart.y_label)
    _add_legend(figure, axes, chart.note, columns=3 if style.columns > 1 < len(axes) else 2)
    return figure


def _axes(panels: int, style: Style) -> tuple[Figure, list[Axes]]:
    columns = min(2 if panels == 4 else panels, style.columns)
    lines = math.ceil(panels / columns)
    width, height = style.panel_inch
    whole = width if style.columns == 1 else 1.2 + width * max(columns, 1.3)
    figure = Figure(figsize=(whole, height * lines), layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[panels:]:
        unused.set_visible(False)
    return figure, axes[:panels]


def _draw_panel(axes: Axes, panel: Panel, chart: Chart) -> None:
    axes.set_title(plain(panel.title))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(panel.x_label)
    for front in panel.fronts:
        axes.step(
            front["x"], front["y"], where="post", color="0.75", linewidth=3, zorder=0,
            label="Pareto front",
        )  # fmt: skip
    if chart.kind == "curves":
        _draw_curves(axes, panel.lines)
    else:
        for line, offset in zip(panel.lines, chart.offsets(panel), strict=True):
            _draw_line(axes, line, chart, _STEP_INCH * offset)
    axes.autoscale_view()
    for (label, level), dashes in zip(panel.levels.items(), cycle(_LEVEL_DASHES), strict=False):
        axes.axhline(level, color="0.45", linewidth=1, linestyle=(0, dashes), label=plain(label))
    if panel.ticks:
        axes.set_xticks(list(panel.ticks), [plain(label) for label in panel.ticks.values()])
    if chart.kind == "dots":  # names
        axes.tick_params(axis="x", rotation=40)
        for name in axes.get_xticklabels():
            name.set_horizontalalignment("right")
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    if chart.kind == "curves":
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1)


def _draw_curves(axes: Axes, lines: Sequence[Line]) -> None:
    """Draws lines of many points; those of one look, which may be thousands, at once."""
    alike: dict[Look, list[NDArray[np.float64]]] = {}
    for line in lines:
        alike.setdefault(line.look, []).append(
            np.column_stack([line.points["x"], line.points["y"]])
        )
    for look, own in alike.items():
        axes.add_collection(
            LineCollection(own, color=look.colour, linestyle=look.line, alpha=0.6, linewidth=1)
        )
        axes.plot([], [], look.line, color=look.colour, label=plain(look.label))


def _draw_line(axes: Axes, line: Line, chart: Chart, offset_inch: float) -> None:
    """Draws the points with their intervals, if there are any, and the seeds."""
    look, points = line.look, line.points
    beside = _beside(axes, offset_inch)
    style = look.line if chart.kind == "lines" else "none"
    axes.update_datalim(np.column_stack([points["x"], points["y"]]))  # moved lines set no limits
    reach = [points["y"] - points["low"], points["high"] - points["y"]]
    axes.errorbar(
        points["x"], points["y"], np.clip(reach, 0, None), color=look.colour, linestyle=style,
        linewidth=1.3, marker=look.marker, markersize=5, elinewidth=0.9, capsize=2,
        transform=beside,
    )  # fmt: skip
    axes.plot(
        line.seeds["x"], line.seeds["y"], look.marker, color=look.colour, alpha=0.4, markersize=3,
        transform=beside,
    )  # fmt: skip
    axes.plot(
        [], [], linestyle=style, marker=look.marker, color=look.colour, markersize=5,
        label=plain(look.label),
    )  # fmt: skip


def _beside(axes: Axes, inch: float) -> Transform:
    """Moves a line sideways."""
    return axes.transData + ScaledTranslation(inch, 0, axes.figure.dpi_scale_trans)


def _add_legend(figure: Figure, axes: list[Axes], note: str, columns: int) -> None:
    """One legend for all panels."""
    named = {
        name: handle
        for own in axes
        for handle, name in zip(*own.get_legend_handles_labels(), strict=True)
    }
    lines = -(-len(named) // columns) + bool(note)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + _LEGEND_LINE_INCH * lines)
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=columns, frameon=False, title=note
    )
