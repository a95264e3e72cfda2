"""Charts: their tables, fronts, colours, and figures for a journal."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import colors

from studies.figures.accuracy import accuracy_by_group, accuracy_by_overhead, accuracy_by_snr
from studies.figures.looks import COLOURS
from studies.figures.report import write_report
from studies.plan.study import Study
from studies.tables.files import Tables
from studies.tables.findings import Findings
from studies.tables.frontier import pareto
from studies.tables.summary import count_answers, summarise, summarise_part


def test_a_chart_and_its_table_are_the_same(
    page: Path, study: Study, tables: Tables, results: pd.DataFrame
) -> None:
    table = pd.read_csv(page.parent / "accuracy_by_snr.csv")
    summary = summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)
    ours = summary[summary["method"].isin(["aligned", "unaligned"])]
    assert sorted(table["accuracy"]) == pytest.approx(sorted(ours["accuracy"]))
    assert set(table["line"]) == {
        f"{method}, {budget} tokens" for method in ("aligned", "unaligned")
        for budget in ("4+4", "16+16")
    }  # fmt: skip
    assert (table["accuracy_low"] <= table["accuracy"]).all()


def test_figures_for_a_journal_are_as_wide_as_its_column(
    study: Study, tables: Tables, results: pd.DataFrame
) -> None:
    from studies.figures.printed import style_of

    written = write_report(Findings(study, tables, results), style_of("ieee"))
    assert {file.suffix for file in written} == {".pdf"}
    for file in written:
        (box,) = set(re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", file.read_bytes()))
        assert float(box) == pytest.approx(3.5 * 72)
    with pytest.raises(ValueError, match="no style 'acm' of figures; there are: ieee"):
        style_of("acm")


def test_nothing_is_better_and_cheaper_than_a_front() -> None:
    rows = pd.DataFrame(
        {
            "uplink_channel_uses": [100.0, 200.0, 200.0, 300.0, 400.0, math.nan],
            "accuracy": [0.5, 0.7, 0.6, 0.7, 0.9, 1.0],
        }
    )
    front = pareto(rows)
    assert list(front["uplink_channel_uses"]) == [100, 200, 400]
    assert list(front["accuracy"]) == [0.5, 0.7, 0.9]
    with pytest.raises(ValueError, match="no cost 'price' in the table"):
        pareto(rows, "price")


def test_overhead_has_a_front_for_each_snr(tables: Tables, results: pd.DataFrame) -> None:
    summary = summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)
    (panel,) = accuracy_by_overhead(results, summary, tables.layout).panels
    assert len(panel.fronts) == 2
    for snr_db, front in zip((0.0, 10.0), panel.fronts, strict=True):
        rows = summary[summary["eval_snr_db"].eq(snr_db) & ~summary["method"].isin(["blind"])]
        assert front["y"].max() == rows["accuracy"].max()
        assert front["y"].is_monotonic_increasing


def test_groups_are_shown_at_the_highest_snr(tables: Tables, results: pd.DataFrame) -> None:
    groups = tables.layout.groups
    answered = count_answers(tables, results["cell"].unique())
    summaries = {
        group: summarise_part(results, answered, tables.layout, group)[1] for group in groups
    }
    chart = accuracy_by_group(results, summaries, tables.layout)
    (panel,) = chart.panels
    assert panel.title == "awgn, 10 dB"
    assert list(panel.ticks.values()) == list(groups)
    line = next(line for line in panel.lines if line.look.label == "aligned, 4+4 tokens")
    own = summaries[groups[2]].query("method == 'aligned' and eval_snr_db == 10")
    expected = own.loc[own["tokens_audio"] == 4, "accuracy"].item()
    assert line.points.set_index("x").loc[2.0, "y"] == expected
    assert set(chart.table["group"]) == set(groups)
    rows = chart.table.query("line == 'aligned, 4+4 tokens'").set_index("group")
    assert rows.loc[groups[2], "accuracy"] == expected


def test_airs_with_a_link_budget_show_all_methods(tables: Tables, results: pd.DataFrame) -> None:
    """Whatever SNRs they realise, which differ by method."""
    realised_db = 10.0 + results["method"].eq("aligned")
    own = results[results["eval_snr_db"] == 10].assign(realised_snr_db=realised_db)
    answered = count_answers(tables, own["cell"].unique())
    summaries = {
        group: summarise_part(own, answered, tables.layout, group)[1].assign(eval_snr_db=math.nan)
        for group in tables.layout.groups[:2]
    }
    assert all(len(rows) == 4 for rows in summaries.values())
    (panel,) = accuracy_by_group(own, summaries, tables.layout).panels
    shown = {line.look.label.split(",")[0] for line in panel.lines}
    assert shown == {"aligned", "unaligned"}


def test_an_evaluation_without_noise_is_at_infinity_in_the_table(
    tables: Tables, results: pd.DataFrame
) -> None:
    cells = results["cell"].unique()
    without = results.assign(eval_snr_db=results["eval_snr_db"].replace(10.0, math.inf))
    summary = summarise(results, count_answers(tables, cells), tables.layout)
    summary["eval_snr_db"] = summary["eval_snr_db"].replace(10.0, math.inf)
    chart = accuracy_by_snr(without, summary, tables.layout)
    assert set(chart.table["snr_db"]) == {0.0, math.inf}
    assert all(math.isfinite(x) for p in chart.panels for line in p.lines for x in line.points["x"])


def test_colours_differ_in_print_and_for_the_colour_blind() -> None:
    """Any two are apart in the sense of CIELAB, as people without red or green cones see them."""
    rgb = [colors.to_rgb(colour) for colour in COLOURS]
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
    """CIELAB of a colour, whose channels are from 0 to 1."""
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
