"""Charts on a page, by plotly: values show where the pointer is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import plotly.io as pio

from .chart import LEVEL_WIDTH, Chart, Line, Panel
from .looks import wrapped

_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_LEVELS = ("--", ":", "-.")
_SYMBOLS = {"o": "circle", "^": "triangle-up", "s": "square", "D": "diamond", "v": "triangle-down"}
_MARKERS = {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼"}
_SVG_DASHES = {"-": "none", "--": "6 4", ":": "2 3", "-.": "7 3 2 3"}
_GREY = "#737373"
_FRONT, _FRONT_COLOR = "Pareto front", "#d0d0d0"
_GRID = "#e5e5e5"
_TITLE_LETTERS = 44
"""Letters in a line of a title, so that it fits a telephone."""
_TITLE_LINE_PX = 18
_WIDTH = {"overlaying": "x", "range": [0, 1], "visible": False, "fixedrange": True}
"""A second horizontal axis, from one end of a panel to the other."""

Json = dict[str, Any]
"""A figure or a part of one, as in plotly's JSON. Plotly's own figures would check every value,
which takes longer than all else on the page."""


def draw(panel: Panel, chart: Chart) -> Json:
    """One panel; the page has the legend, which all panels of a chart share."""
    x_axis: Json = {}
    if panel.ticks:
        x_axis |= {"tickvals": list(panel.ticks), "ticktext": list(panel.ticks.values())}
    if panel.log_x:
        x_axis["type"] = "log"
    if panel.limits is not None:
        x_axis["range"] = list(panel.limits)
    y_axis = {"type": "log"} if chart.kind == "curves" else {"range": [-0.02, 1.02]}
    layout = laid_out(panel.title, panel.x_label, chart.y_label)
    layout["xaxis"] |= x_axis
    layout["yaxis"] |= y_axis
    if any(None in heights for heights in panel.levels.values()):
        layout["xaxis2"] = _WIDTH
    return {"data": _traces(panel, chart), "layout": layout}


def laid_out(title: str, x_label: str, y_label: str) -> Json:
    """The layout that all figures of a page share."""
    lines = wrapped(title, _TITLE_LETTERS)
    return {
        "title": heading(text="<br>".join(lines), x=0.5, font={"size": 14}),
        "template": _template(),
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "showlegend": False,
        "height": 360,
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "margin": {"l": 55, "r": 10, "t": 40 + _TITLE_LINE_PX * (len(lines) - 1), "b": 50},
        "xaxis": {"title": heading(text=x_label), "gridcolor": _GRID},
        "yaxis": {"title": heading(text=y_label), "gridcolor": _GRID},
    }


def heading(**keys: Any) -> Json:
    """A title, of a figure, an axis or a scale."""
    return keys


def legend(chart: Chart) -> list[dict[str, str]]:
    """Label, color, dashes and marker of each line, reference and front, once."""
    shown: dict[str, tuple[str, str, str]] = {}
    for panel in chart.panels:
        for line in panel.lines:
            look = line.look
            mark = "" if chart.kind == "curves" else _MARKERS[look.marker]
            shown[look.label] = (look.color, _SVG_DASHES[look.line], mark)
    for panel in chart.panels:
        for i, label in enumerate(panel.levels):
            shown[label] = (_GREY, _SVG_DASHES[_LEVELS[i % len(_LEVELS)]], "")
        if panel.fronts:
            shown[_FRONT] = (_FRONT_COLOR, "none", "")
    names = ("label", "color", "dashes", "marker")
    return [dict(zip(names, (label, *look), strict=True)) for label, look in shown.items()]


def _traces(panel: Panel, chart: Chart) -> list[Json]:
    fronts = [
        {
            "type": "scatter", "x": [_rounded(x) for x in front["x"]], "y": list(front["y"]),
            "mode": "lines+markers", "name": _FRONT,
            "line": {"shape": "hv", "color": _FRONT_COLOR, "width": 4},
            "marker": {"size": 15, "color": _FRONT_COLOR},
            "hoverinfo": "skip",
        }
        for front in panel.fronts
    ]  # fmt: skip
    lines = [
        trace
        for line, offset in zip(panel.lines, chart.offsets(panel), strict=True)
        for trace in _drawn(line, chart, panel.ticks, offset)
    ]
    return [*fronts, *lines, *_levels(panel)]


def _drawn(line: Line, chart: Chart, ticks: Mapping[float, str], offset: float) -> list[Json]:
    """A line, moved sideways, and its seeds, which have its name and so hide with it."""
    traces = [_trace(line, chart, ticks), *([_seeds(line)] if len(line.seeds) else [])]
    return [{**trace, "x": [_rounded(x + offset) for x in trace["x"]]} for trace in traces]


def _rounded(x: float) -> float:
    """A place without its last bits: plotly cannot draw an axis as short as a rounding error."""
    return float(f"{x:.12g}")


def _seeds(line: Line) -> Json:
    look = line.look
    marker = {"symbol": _SYMBOLS[look.marker], "size": 4, "color": look.color, "opacity": 0.4}
    return {
        "type": "scatter", "x": list(line.seeds["x"]), "y": list(line.seeds["y"]),
        "name": look.label, "mode": "markers", "marker": marker,
        "hovertemplate": "one seed: %{y:.3f}",
    }  # fmt: skip


def _trace(line: Line, chart: Chart, ticks: Mapping[float, str]) -> Json:
    look, points = line.look, line.points
    modes = {"lines": "lines+markers", "dots": "markers", "curves": "lines"}
    style: Json = {
        "type": "scatter",
        "x": list(points["x"]),
        "y": list(points["y"]),
        "name": look.label,
        "mode": modes[chart.kind],
        "line": {"color": look.color, "dash": _DASHES[look.line], "width": 1.6},
        "marker": {"symbol": _SYMBOLS[look.marker], "size": 8, "color": look.color},
    }
    if "low" not in points:
        return {**style, "hovertemplate": "%{x:.6~g}: %{y:.4~g}"}
    bars = {
        "type": "data",
        "symmetric": False,
        "array": list((points["high"] - points["y"]).clip(lower=0)),
        "arrayminus": list((points["y"] - points["low"]).clip(lower=0)),
        "thickness": 1,
        "width": 3,
    }
    said = [
        f"{ticks.get(x, f'{x:g}')}: {y:.3f} [{low:.3f}, {high:.3f}]"
        for x, y, low, high in points[["x", "y", "low", "high"]].itertuples(index=False)
    ]
    return {**style, "error_y": bars, "hovertext": said, "hovertemplate": "%{hovertext}"}


def _levels(panel: Panel) -> list[Json]:
    """Horizontal lines of each reference, as wide as the panel or at its places."""
    return [
        {
            "type": "scatter", **_level(heights), "mode": "lines", "name": label,
            "line": {"color": _GREY, "dash": _DASHES[_LEVELS[i % len(_LEVELS)]], "width": 1.2},
            "hovertemplate": "%{y:.3f}",
        }
        for i, (label, heights) in enumerate(panel.levels.items())
    ]  # fmt: skip


def _level(heights: Mapping[float | None, float]) -> Json:
    """Where the lines of a reference are; with a gap after each, if there are several."""
    if None in heights:
        return {"x": [0, 1], "xaxis": "x2", "y": [heights[None]] * 2}
    places = [place for place in heights if place is not None]
    half = LEVEL_WIDTH / 2
    return {
        "x": [x for place in places for x in (place - half, place + half, None)],
        "y": [y for place in places for y in (heights[place], heights[place], None)],
    }


@cache
def _template() -> dict[str, Any]:
    template: dict[str, Any] = pio.templates["plotly_white"].to_plotly_json()
    return template
