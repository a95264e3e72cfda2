"""Charts, whatever draws them: :mod:`printed` and :mod:`interactive` draw the same ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from .looks import Look

Kind = Literal["lines", "dots", "curves"]

NOISELESS = "∞"
"""Label of an evaluation without noise, whose place is to the right of all SNRs."""
_NOISELESS_GAP_DB = 5.0

_SPREAD = {"dots": 0.7, "lines": 0.25}
"""Largest part of the distance between two places that lines beside each other take up."""
_STEP = 0.012
"""Largest distance of neighbouring lines, as a fraction of that of the outermost places."""

LEVEL_WIDTH = 0.84
"""Width of a horizontal line at a place, as a fraction of the distance between places."""

_NO_SEEDS = pd.DataFrame(columns=["x", "y"])
"""One empty table for all lines, of which there may be thousands."""


def noiseless_db(snrs_db: pd.Series[float]) -> float:
    """Place of an infinite SNR: to the right of those of these that are finite."""
    finite = snrs_db[np.isfinite(snrs_db)]
    return float(finite.max() if len(finite) else 0.0) + _NOISELESS_GAP_DB


@dataclass(frozen=True, eq=False)
class Line:
    """Values of a method at several places.

    Attributes:
        look: Its style.
        points: ``x`` and ``y``, and the interval's ``low`` and ``high`` if there is one, in order.
        seeds: ``x`` and ``y`` of each seed alone.
        seed: Seed of all of its points; None for a line over the seeds.
    """

    look: Look
    points: pd.DataFrame
    seeds: pd.DataFrame = field(default_factory=lambda: _NO_SEEDS)
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Panel:
    """Lines over the same axes.

    Attributes:
        title: What its lines have in common.
        x_label: Label of the horizontal axis.
        lines: Its lines.
        levels: Heights of horizontal lines by label, the uppermost first, and by place; the place
            None is the whole panel.
        fronts: Points ``x`` and ``y`` of each Pareto front.
        ticks: Labels by place; if empty, they are chosen when the panel is drawn.
        log_x: Whether the horizontal axis is logarithmic.
        min_span: Least width of the horizontal axis, where its places are next to each other.
    """

    title: str
    x_label: str
    lines: Sequence[Line]
    levels: dict[str, dict[float | None, float]] = field(default_factory=dict)
    fronts: Sequence[pd.DataFrame] = ()
    ticks: dict[float, str] = field(default_factory=dict)
    log_x: bool = False
    min_span: float = 0.0

    @property
    def places(self) -> list[float]:
        """All ``x`` of its lines."""
        return [float(x) for line in self.lines for x in line.points["x"]]

    @property
    def limits(self) -> tuple[float, float] | None:
        """Ends of the horizontal axis; None where the places alone are wide enough."""
        if not self.min_span:
            return None
        low, high = min(self.places, default=0.0), max(self.places, default=0.0)
        middle, half = (low + high) / 2, self.min_span / 2
        return (middle - half, middle + half) if high - low < self.min_span else None

    def value(self, x: float, kind: Kind) -> float | str:
        """What a place stands for: the label of dots, an infinite SNR, or the place itself."""
        label = self.ticks.get(x)
        if kind == "dots" and label is not None:
            return label
        return math.inf if label == NOISELESS else x


@dataclass(frozen=True, eq=False)
class Chart:
    """Panels that share a vertical axis.

    Attributes:
        title: Heading.
        x_name: Name of the horizontal values in the table.
        y_name: Name of the vertical ones.
        y_label: Label of the vertical axis.
        panels: Its panels.
        note: Explanation of intervals, empty for none.
        kind: ``lines`` of marked points, ``dots`` that are not joined, or ``curves`` of many steps
            over a logarithmic axis; the axis of others spans 0 to 1.
        apart: Whether lines are drawn a little beside each other, since they share their places.
    """

    title: str
    x_name: str
    y_name: str
    y_label: str
    panels: Sequence[Panel]
    note: str = ""
    kind: Kind = "lines"
    apart: bool = False

    def offsets(self, panel: Panel) -> list[float]:
        """How far each line of a panel is drawn beside its places, which are far more apart."""
        count = len(panel.lines)
        if not self.apart or not count:
            return [0.0] * count
        span = (max(panel.places) - min(panel.places)) or 1.0
        gaps = [gap for line in panel.lines for gap in np.diff(line.points["x"]) if gap > 0]
        step = _SPREAD[self.kind] * float(min(gaps, default=span)) / count
        if self.kind == "lines":
            step = min(step, _STEP * span)
        return [step * (number - (count - 1) / 2) for number in range(count)]

    @property
    def table(self) -> pd.DataFrame:
        """The values that the chart shows: a row for each point of a line, then one for each level.

        A point has a seed if its line is that of one seed. A level across the whole panel has no
        place.
        """
        names = {"x": self.x_name, "y": self.y_name}
        names |= {end: f"{self.y_name}_{end}" for end in ("low", "high")}
        lines = [(panel, line) for panel in self.panels for line in panel.lines]
        if not lines:
            return pd.DataFrame(columns=["panel", "line", self.x_name, self.y_name])
        rows = pd.concat([line.points for _, line in lines], keys=range(len(lines)))
        number = rows.index.get_level_values(0)
        rows = rows.rename(columns=names).reset_index(drop=True)
        rows[self.x_name] = [
            lines[i][0].value(x, self.kind) for i, x in zip(number, rows[self.x_name], strict=True)
        ]
        rows.insert(0, "panel", [lines[i][0].title for i in number])
        rows.insert(1, "line", [lines[i][1].look.label for i in number])
        if any(line.seed is not None for _, line in lines):
            rows.insert(2, "seed", [lines[i][1].seed for i in number])
        levels = [
            {
                "panel": panel.title,
                "line": label,
                **({} if place is None else {self.x_name: panel.value(place, self.kind)}),
                self.y_name: height,
            }
            for panel in self.panels
            for label, heights in panel.levels.items()
            for place, height in heights.items()
        ]
        return pd.concat([rows, pd.DataFrame(levels)], ignore_index=True) if levels else rows
