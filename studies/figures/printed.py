"""Charts on paper and in PNG files, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, cast

import matplotlib
import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath
from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter
from numpy.typing import NDArray

from .chart import LEVEL_WIDTH, Chart, Line, Panel
from .looks import Look, wrapped

_LEVEL_DASHES = ((4, 3), (1, 1), (3, 1, 1, 1))
_LEGEND_LINE_INCH = 0.17
_TITLE_LETTERS = 50
_HANDLE_INCH = 0.6
"""Width of a legend's entry without its label."""
_NAME_INCH_A_LETTER = 0.03
"""Height that a letter of the name of a place takes, since the names are rotated."""
_FEW_DECADES = 2.0
"""An axis of fewer has labels between the powers of ten."""


@dataclass(frozen=True)
class Style:
    """How figures are printed.

    Attributes:
        suffix: File type.
        columns: Maximum number of panels beside each other.
        rows: Maximum number of rows of panels in a file.
        panel_inch: Width and height of a panel.
        settings: Settings of matplotlib.
    """

    suffix: str
    columns: int
    rows: int
    panel_inch: tuple[float, float]
    settings: dict[str, Any]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Applies the settings; figures are drawn and saved inside the block."""
        with matplotlib.rc_context(cast(Any, self.settings)):
            yield


SCREEN = Style(
    ".png",
    3,
    100,
    (4.2, 3.6),
    {
        "savefig.dpi": 130,
        "axes.titlesize": 10,
        "legend.fontsize": 8,
        "legend.title_fontsize": 8,
        "lines.markersize": 5,
    },
)
STYLES = {
    "ieee": Style(
        ".pdf",
        1,
        3,
        (3.5, 2.4),  # a column of IEEE's journals; three with a legend are no higher
        {
            "font.family": "STIXGeneral",
            "mathtext.fontset": "stix",
            "font.size": 8,
            "axes.titlesize": 8,
            "axes.labelsize": 8,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "legend.fontsize": 7,
            "legend.title_fontsize": 7,
            "lines.markersize": 3.5,
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


def escape(text: str) -> str:
    """Text of a study, escaped so that matplotlib shows it as it is.

    Matplotlib would read what stands between two dollars as a formula, and hides labels that begin
    with an underscore.
    """
    escaped = text.replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped


def sheets(chart: Chart, style: Style) -> list[Chart]:
    """The chart, in parts of as many panels as fit a file."""
    max_panels = style.rows * style.columns
    starts = range(0, len(chart.panels), max_panels)
    return [replace(chart, panels=chart.panels[i : i + max_panels]) for i in starts] or [chart]


def draw(chart: Chart, style: Style = SCREEN) -> Figure:
    """Methods by color, bars for intervals, seeds as dots, references as levels."""
    figure, axes = _axes(chart, style)
    for panel, ax in zip(chart.panels, axes, strict=False):
        _draw_panel(ax, panel, chart)
    columns = _columns(len(axes), style)
    for ax in axes[::columns]:
        ax.set_ylabel(chart.y_label)
    if chart.kind == "dots":  # the names of a column's panels are the same
        for ax in axes[:-columns]:
            ax.tick_params(labelbottom=False)
    _add_legend(figure, axes, chart.note, columns=3 if style.columns > 1 < len(axes) else 2)
    return figure


def _axes(chart: Chart, style: Style) -> tuple[Figure, list[Axes]]:
    panels = len(chart.panels) or 1
    columns = _columns(panels, style)
    lines = math.ceil(panels / columns)
    width, height = style.panel_inch
    whole = width if style.columns == 1 else 1.2 + width * max(columns, 1.3)
    names = [name for panel in chart.panels for name in panel.ticks.values()]
    below = max(map(len, names), default=0) if chart.kind == "dots" else 0
    size = (whole, height * lines + _NAME_INCH_A_LETTER * below)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[panels:]:
        unused.set_visible(False)
    return figure, axes[:panels]


def _columns(panels: int, style: Style) -> int:
    return min(2 if panels == 4 else panels, style.columns)


def _draw_panel(axes: Axes, panel: Panel, chart: Chart) -> None:
    axes.set_title(escape("\n".join(wrapped(panel.title, _TITLE_LETTERS))))
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel(panel.x_label)
    for front in panel.fronts:
        axes.step(
            front["x"], front["y"], "o-", where="post", color="0.8", linewidth=3, zorder=0,
            markersize=2 * rcParams["lines.markersize"], clip_on=False, label="Pareto front",
        )  # fmt: skip
    if chart.kind == "curves":
        _draw_curves(axes, panel.lines)
    else:
        for line, offset in zip(panel.lines, chart.offsets(panel), strict=True):
            _draw_line(axes, line, chart, offset)
    axes.autoscale_view()
    for (label, heights), dashes in zip(panel.levels.items(), cycle(_LEVEL_DASHES), strict=False):
        _draw_level(axes, heights, color="0.45", linestyle=(0, dashes), label=escape(label))
    if panel.ticks:
        axes.set_xticks(list(panel.ticks), [escape(label) for label in panel.ticks.values()])
    if chart.kind == "dots":  # names
        axes.tick_params(axis="x", rotation=40)
        axes.set_xlim(-0.5, len(panel.ticks) - 0.5)
        for name in axes.get_xticklabels():
            name.set_horizontalalignment("right")
    if panel.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
        low, high = axes.get_xlim()
        if high < low * 10**_FEW_DECADES:
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.xaxis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(9, 9)))
    elif panel.limits is not None:
        axes.set_xlim(panel.limits)
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
    for look, segments in alike.items():
        axes.add_collection(
            LineCollection(segments, color=look.color, linestyle=look.line, alpha=0.6, linewidth=1)
        )
        axes.plot([], [], look.line, color=look.color, label=escape(look.label))


def _draw_line(axes: Axes, line: Line, chart: Chart, offset: float) -> None:
    """Draws the points with their intervals, if there are any, and the seeds.

    Markers are drawn whole, even on the edge of the panel.
    """
    look, points = line.look, line.points
    style = look.line if chart.kind == "lines" else "none"
    reach = [points["y"] - points["low"], points["high"] - points["y"]]
    bars = axes.errorbar(
        points["x"] + offset, points["y"], np.clip(reach, 0, None), color=look.color,
        linestyle=style, linewidth=1.3, marker=look.marker, elinewidth=0.9, capsize=2,
    )  # fmt: skip
    for drawn in bars.get_children():
        drawn.set_clip_on(False)
    if len(line.seeds):
        axes.plot(
            line.seeds["x"] + offset, line.seeds["y"], look.marker, color=look.color, alpha=0.4,
            markersize=0.6 * rcParams["lines.markersize"], clip_on=False,
        )  # fmt: skip
    axes.plot(
        [], [], linestyle=style, marker=look.marker, color=look.color, label=escape(look.label)
    )


def _draw_level(axes: Axes, heights: Mapping[float | None, float], **style: Any) -> None:
    """Draws a reference, across the panel or at its places."""
    if None in heights:
        axes.axhline(heights[None], linewidth=1, **style)
        return
    places, half = np.array(list(heights), float), LEVEL_WIDTH / 2
    axes.hlines(
        list(heights.values()), places - half, places + half, linewidth=1, clip_on=False, **style
    )


def _add_legend(figure: Figure, axes: list[Axes], note: str, columns: int) -> None:
    """One legend for all panels, in as many columns as its labels leave room for."""
    named = {
        name: handle
        for ax in axes
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    width, height = figure.get_size_inches()
    inches = {name: _legend_inch(name) for name in named}
    longest_inch = max(inches.values(), default=0.0)
    columns = min(columns, max(1, int(width / (_HANDLE_INCH + longest_inch))))
    label_inch = width / columns - _HANDLE_INCH
    labels = [_fitted(name, own_inch, label_inch) for name, own_inch in inches.items()]
    title = _fitted(note, _legend_inch(note), width)
    lines = math.ceil(sum(label.count("\n") + 1 for label in labels) / columns)
    lines += title.count("\n") + 1 if title else 0
    figure.set_size_inches(width, height + _LEGEND_LINE_INCH * lines)
    figure.legend(
        named.values(), labels, loc="outside lower center", ncols=columns, frameon=False,
        title=title,
    )  # fmt: skip


def _fitted(text: str, own_inch: float, width_inch: float) -> str:
    """A text of a legend, ``own_inch`` wide, in lines of at most about ``width_inch``."""
    if own_inch <= width_inch:
        return text
    return "\n".join(wrapped(text, max(1, int(len(text) * width_inch / own_inch))))


def _legend_inch(text: str) -> float:
    """Width of a text of a legend."""
    if not text.strip():
        return 0.0
    path = TextPath((0, 0), text, prop=FontProperties(size=rcParams["legend.fontsize"]))
    return float(path.get_extents().width) / 72
