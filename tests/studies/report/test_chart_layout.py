"""Where things stand in a chart: points, axes, labels, sheets for a journal."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from matplotlib.figure import Figure as Printed

from studies.figures.accuracy import accuracy_by_snr
from studies.figures.chart import Chart, Line, Panel
from studies.figures.interactive import draw as draw_on_page
from studies.figures.looks import Look, Looks
from studies.figures.printed import STYLES, draw, sheets
from studies.figures.report import write_report
from studies.plan.study import Study
from studies.tables.files import Tables
from studies.tables.findings import Findings
from studies.tables.summary import count_answers, summarise


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


def _by_snr(lines: int, snrs_db: tuple[float, ...]) -> Chart:
    """So many methods at these SNRs, all of them right."""
    looks = Looks([f"m{i}" for i in range(lines)], ["-"])
    full = {"x": snrs_db, "y": 1.0, "low": 0.9, "high": 1.0}
    own = [Line(looks.of(f"m{i}", "-"), pd.DataFrame(full)) for i in range(lines)]
    panel = Panel("awgn", "SNR (dB)", own)
    return Chart("", "snr_db", "accuracy", "accuracy", [panel], "bars: intervals", apart=True)


def _laid_out(chart: Chart, style: str = "ieee") -> Printed:
    with STYLES[style].applied():
        figure = draw(chart, STYLES[style])
        figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("lines", [2, 6, 14])
def test_points_are_near_their_places_and_far_from_the_next(lines: int) -> None:
    chart = _by_snr(lines, (-6.0, 0.0, 6.0, 12.0, 18.0))
    offsets = chart.offsets(chart.panels[0])
    assert sum(offsets) == pytest.approx(0)
    assert 0 < max(offsets) <= 0.13 * 6  # of the distance to the next
    shown = draw_on_page(chart.panels[0], chart)["data"]
    assert [trace["x"][1] for trace in shown] == pytest.approx(offsets)
    groups = replace(chart, kind="dots")
    wide = groups.offsets(chart.panels[0])
    assert max(wide) - min(wide) < 0.7 * 6
    assert 6 - (max(wide) - min(wide)) > wide[1] - wide[0]  # more to the next group


def test_printed_points_are_whole_and_inside() -> None:
    """Also those of the first and last place, and those at the top."""
    figure = _laid_out(_by_snr(6, (0.0, 6.0)))
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    drawn = [line for line in axes.lines if len(line.get_xdata())]
    assert drawn
    for line in drawn:
        assert low < min(line.get_xdata()) and max(line.get_xdata()) < high
        assert not line.get_clip_on()


def test_the_label_of_accuracy_is_beside_its_panel() -> None:
    figure = _laid_out(_by_snr(8, (0.0, 6.0)))
    (axes,) = figure.axes
    label, panel = axes.yaxis.label.get_window_extent(), axes.get_window_extent()
    middle = panel.y0 + panel.height / 2
    assert label.y0 + label.height / 2 == pytest.approx(middle, abs=1)


@pytest.mark.parametrize("costs", [(2.6e3, 6e3, 8.5e4), (2e3, 3e4, 1e6)])
def test_an_axis_of_costs_has_labels(costs: tuple[float, ...]) -> None:
    look = Look("#000000", "-", "o", "a")
    points = pd.DataFrame({"x": costs, "y": 0.5, "low": 0.4, "high": 0.6})
    panel = Panel("munich", "uses", [Line(look, points)], log_x=True)
    (axes,) = _laid_out(Chart("", "uses", "accuracy", "accuracy", [panel])).axes
    low, high = axes.get_xlim()
    ticks = axes.xaxis.get_majorticklabels()
    labelled = [t for t in ticks if t.get_text() and low <= t.get_position()[0] <= high]
    assert len(labelled) >= 3
    extents = [tick.get_window_extent() for tick in labelled]
    assert all(a.x1 < b.x0 for a, b in pairwise(extents))


def test_a_front_of_one_point_is_seen() -> None:
    look = Look("#000000", "-", "o", "a")
    points = pd.DataFrame({"x": [1.0], "y": [0.5], "low": [0.4], "high": [0.6]})
    panel = Panel("", "uses", [Line(look, points)], fronts=[points])
    chart = Chart("", "uses", "accuracy", "accuracy", [panel])
    (axes,) = _laid_out(chart).axes
    front = next(line for line in axes.lines if line.get_label() == "Pareto front")
    assert front.get_marker() == "o"
    front_on_page = draw_on_page(panel, chart)["data"][0]
    assert "markers" in front_on_page["mode"]


def test_many_panels_are_printed_on_sheets_that_fit_a_column() -> None:
    chart = _by_snr(3, (0.0, 6.0))
    five = replace(chart, panels=[replace(chart.panels[0], title=f"air {i}") for i in range(5)])
    parts = sheets(five, STYLES["ieee"])
    assert [panel.title for part in parts for panel in part.panels] == [
        f"air {i}" for i in range(5)
    ]
    for part in parts:
        width, height = _laid_out(part).get_size_inches()
        assert width == 3.5 and height < 9


def test_long_titles_and_labels_stay_on_the_sheet() -> None:
    long = "a cell of the city, 5 MHz, deadline 3 ms, 3000 users, trained at 10 dB"
    chart = _by_snr(2, (0.0, 6.0))
    panel = replace(chart.panels[0], title=long, lines=[
        replace(line, look=replace(line.look, label=f"{long} {i}"))
        for i, line in enumerate(chart.panels[0].lines)
    ])  # fmt: skip
    figure = _laid_out(replace(chart, panels=[panel], note=f"{long}; {long}"))
    sheet = figure.bbox
    (legend,) = figure.legends
    for text in (figure.axes[0].title, *legend.get_texts(), legend.get_title()):
        extent = text.get_window_extent()
        assert sheet.x0 <= extent.x0 and extent.x1 <= sheet.x1
    layout = draw_on_page(panel, chart)["layout"]
    assert max(map(len, layout["title"]["text"].split("<br>"))) <= 44
    assert layout["margin"]["t"] > draw_on_page(chart.panels[0], chart)["layout"]["margin"]["t"]


def test_a_realised_snr_says_what_it_is_and_has_room(tables: Tables, results: pd.DataFrame) -> None:
    realised_db = 46.5 + 0.01 * results["method"].eq("aligned")
    own = results[results["eval_snr_db"] == 10].assign(realised_snr_db=realised_db)
    answered = count_answers(tables, own["cell"].unique())
    summary = summarise(own, answered, tables.layout)
    frames = (rows.assign(eval_snr_db=math.nan) for rows in (own, summary))
    chart = accuracy_by_snr(*frames, tables.layout)
    (panel,) = chart.panels
    assert panel.x_label == "receive SNR, linear mean (dB)"
    (axes,) = _laid_out(chart).axes
    low_db, high_db = axes.get_xlim()
    assert high_db - low_db == pytest.approx(1.0)
    assert draw_on_page(panel, chart)["layout"]["xaxis"]["range"] == [low_db, high_db]


def test_evaluated_snrs_have_ticks_where_there_is_room(
    tables: Tables, results: pd.DataFrame
) -> None:
    summary = summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)
    (panel,) = accuracy_by_snr(results, summary, tables.layout).panels
    assert panel.ticks == {0.0: "0", 10.0: "10"}
    moved = [summary["eval_snr_db"].replace(10.0, snr_db) for snr_db in (0.5, 30.0)]
    close = pd.concat([summary.assign(eval_snr_db=snrs_db) for snrs_db in moved])
    (panel,) = accuracy_by_snr(results, close, tables.layout).panels
    assert panel.ticks == {}
