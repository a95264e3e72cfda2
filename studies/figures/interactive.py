"""Charts on a page, by plotly: values show where the pointer is."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import plotly.io as pio

from .chart import Chart, Line, Panel

_DASHES = {"-": "solid", "--": "dash", ":": "dot", "-.": "dashdot"}
_LEVELS = ("--", ":", "-.")
_SYMBOLS = {"o": "circle", "^": "triangle-up", "s": "square", "D": "diamond", "v": "triangle-down"}
_MARKERS = {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼"}
_SVG_DASHES = {"-": "none", "--": "6 4", ":": "2 3", "-.": "7 3 2 3"}
_GREY = "#737373"
_FRONT, _FRONT_COLOUR = "Pareto front", "#d0d0d0"
_GRID = "#e5e5e5"
_HEIGHT_PX = 360

_Trace = dict[str, Any]
"""A line, as plotly's JSON has it."""


def draw(panel: Panel, chart: Chart) -> dict[str, Any]:
    """One panel, as plotly's JSON has it; the page has the legend, which all panels share.

    Figures of plotly's own would check every value, which takes longer than all else on the page.
    """
    x_axis: dict[str, Any] = {"title": _keys(text=panel.x_label), "gridcolor": _GRID}
    if panel.ticks:
        x_axis |= {"tickvals": list(panel.ticks), "ticktext": list(panel.ticks.values())}
    if panel.log_x:
        x_axis["type"] = "log"
    y_axis: dict[str, Any] = {"title": _keys(text=chart.y_label), "gridcolor": _GRID}
    y_axis |= {"type": "log"} if chart.kind == "curves" else {"range": [0, 1]}
    layout = {
        "title": _keys(text=panel.title, x=0.5, font={"size": 14}),
        "template": _template(),
        "font": {"family": "system-ui, sans-serif", "size": 12},
        "showlegend": False,
        "height": _HEIGHT_PX,
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
        "margin": {"l": 55, "r": 10, "t": 40, "b": 50},
        "xaxis": x_axis,
        "yaxis": y_axis,
    }
    return {"data": _traces(panel, chart), "layout": layout}


def legend(chart: Chart) -> list[dict[str, str]]:
    """Label, colour, dashes and marker of each line, reference and front, once."""
    shown: dict[str, tuple[str, str, str]] = {}
    for panel in chart.panels:
        for line in panel.lines:
            look = line.look
            mark = "" if chart.kind == "curves" else _MARKERS[look.marker]
            shown[look.label] = (look.colour, _SVG_DASHES[look.line], mark)
    for panel in chart.panels:
        for i, label in enumerate(panel.levels):
            shown[label] = (_GREY, _SVG_DASHES[_LEVELS[i % len(_LEVELS)]], "")
        if panel.fronts:
            shown[_FRONT] = (_FRONT_COLOUR, "none", "")
    names = ("label", "colour", "dashes", "marker")
    return [dict(zip(names, (label, *look), strict=True)) for label, look in shown.items()]


def _traces(panel: Panel, chart: Chart) -> list[_Trace]:
    fronts = [
        {
            "type": "scatter", "x": list(front["x"]), "y": list(front["y"]), "mode": "lines",
            "name": _FRONT, "line": {"shape": "hv", "color": _FRONT_COLOUR, "width": 4},
            "hoverinfo": "skip",
        }
        for front in panel.fronts
    ]  # fmt: skip
    lines = (_trace(line, chart, panel.ticks) for line in panel.lines)
    return [*fronts, *lines, *_levels(panel)]


def _trace(line: Line, chart: Chart, ticks: Mapping[float, str]) -> _Trace:
    look, points = line.look, line.points
    modes = {"lines": "lines+markers", "dots": "markers", "curves": "lines"}
    style: _Trace = {
        "type": "scatter",
        "x": list(points["x"]),
        "y": list(points["y"]),
        "name": look.label,
        "mode": modes[chart.kind],
        "line": {"color": look.colour, "dash": _DASHES[look.line], "width": 1.6},
        "marker": {"symbol": _SYMBOLS[look.marker], "size": 8, "color": look.colour},
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


def _levels(panel: Panel) -> list[_Trace]:
    """A horizontal line for each reference, as long as the others."""
    places = [x for line in panel.lines for x in line.points["x"]]
    ends = [min(places), max(places)] if places else []
    return [
        {
            "type": "scatter", "x": ends, "y": [level] * len(ends), "mode": "lines", "name": label,
            "line": {"color": _GREY, "dash": _DASHES[_LEVELS[i % len(_LEVELS)]], "width": 1.2},
            "hovertemplate": "%{y:.3f}",
        }
        for i, (label, level) in enumerate(panel.levels.items())
    ]  # fmt: skip


@cache
def _template() -> dict[str, Any]:
    template: dict[str, Any] = pio.templates["plotly_white"].to_plotly_json()
    return template


def _keys(**keys: Any) -> dict[str, Any]:
    """Keys of plotly's that are names of something else here."""
    return keys
