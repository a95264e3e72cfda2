"""What tells the lines and panels of charts apart: colors, markers, labels, titles."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import colors

from studies.figures.accuracy import accuracy_by_snr
from studies.figures.looks import COLORS, Looks, panel_titles
from studies.figures.printed import draw
from studies.tables.files import Tables
from studies.tables.summary import count_answers, summarise


def test_a_method_has_the_same_color_in_all_charts(tables: Tables, results: pd.DataFrame) -> None:
    """Also where the methods before it have no results, such as those of a part of the task."""
    summary = summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)
    every = accuracy_by_snr(results, summary, tables.layout)
    without = (rows[rows["method"].ne("aligned")] for rows in (results, summary))
    some = accuracy_by_snr(*without, tables.layout)
    drawn = [
        {line.look.label: line.look.color for panel in chart.panels for line in panel.lines}
        for chart in (every, some)
    ]
    assert set(drawn[0].values()) == set(COLORS[:2])
    assert drawn[1] == {k: v for k, v in drawn[0].items() if k.startswith("unaligned")}


@pytest.mark.parametrize("label", ["_mine", "$x^$"])
def test_any_label_is_printed_as_it_is(
    tables: Tables, results: pd.DataFrame, tmp_path: Path, label: str
) -> None:
    layout = replace(tables.layout, methods=(label, "unaligned"))
    own = results.assign(method=results["method"].replace("aligned", label))
    summary = summarise(own, count_answers(tables, own["cell"].unique()), layout)
    figure = draw(accuracy_by_snr(own, summary, layout))
    figure.savefig(tmp_path / "a.png")
    (legend,) = figure.legends
    assert any(label.strip("$") in text.get_text() for text in legend.get_texts())


def test_a_method_without_token_lengths_is_labelled_without_them(
    tables: Tables, results: pd.DataFrame
) -> None:
    lengths = dict.fromkeys(tables.layout.budget_columns, 0.0)
    own = results.where(results["method"].ne("unaligned"), results.assign(**lengths))
    own = own.drop_duplicates([*tables.layout.condition, "seed"])
    summary = summarise(own, count_answers(tables, own["cell"].unique()), tables.layout)
    (panel,) = accuracy_by_snr(own, summary, tables.layout).panels
    labels = [line.look.label for line in panel.lines]
    assert sorted(labels) == ["aligned, 16+16 tokens", "aligned, 4+4 tokens", "unaligned"]


def test_more_methods_than_colors_differ_in_marker() -> None:
    looks = Looks([f"m{i:02}" for i in range(len(COLORS) + 4)], ["4+4 tokens", "16+16 tokens"])
    names = [(f"m{i:02}", name) for i in range(12) for name in ("4+4 tokens", "16+16 tokens")]
    seen = {(look.color, look.marker) for look in (looks.of(*own) for own in names)}
    assert len(seen) == len(names)


def test_a_panel_says_at_which_snrs_its_networks_were_trained(
    tables: Tables, results: pd.DataFrame
) -> None:
    """Also where a range has the one SNR of others in its middle."""
    ours = results[results["method"] == "aligned"].head(3)
    trained = {"train_snr_db": [10.0, 10.0, math.nan], "train_snr_span_db": [0.0, 10.0, math.nan]}
    assert panel_titles(ours.assign(**trained), tables.layout).tolist() == [
        "awgn, trained at 10 dB",
        "awgn, trained at 10 \N{PLUS-MINUS SIGN} 5 dB",
        "awgn, trained at each SNR",
    ]
    fixed = ours.assign(train_snr_db=[5.0, 10.0, 5.0], train_snr_span_db=0.0)
    assert panel_titles(fixed, tables.layout).tolist() == [
        f"awgn, trained at {snr_db} dB" for snr_db in (5, 10, 5)
    ]


def test_colors_differ_in_print_and_for_the_color_blind() -> None:
    """Any two are apart in the sense of CIELAB, as people without red or green cones see them."""
    rgb = [colors.to_rgb(color) for color in COLORS]
    for matrix in (_PROTANOPIA, _DEUTERANOPIA):
        seen = [_lab(tuple(sum(m * c for m, c in zip(row, one, strict=True)) for row in matrix))
                for one in rgb]  # fmt: skip
        for i, one in enumerate(seen):
            for other in seen[:i]:
                assert math.dist(one, other) > 9


_PROTANOPIA = ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052))


_DEUTERANOPIA = ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969))
"""Machado, Oliveira and Fernandes (2009), severity 1."""


def _lab(rgb: tuple[float, ...]) -> tuple[float, float, float]:
    """CIELAB of a color, whose channels are from 0 to 1."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (min(1.0, max(0.0, c)) for c in rgb)
    ]
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(m * c for m, c in zip(row, linear, strict=True)) for row in rows]
    x, y, z = (
        (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116)
        for t in (c / white for c, white in zip(xyz, (0.9505, 1.0, 1.089), strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)
