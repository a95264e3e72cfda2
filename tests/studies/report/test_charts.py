"""Charts: their tables, fronts, colours, and figures for a journal."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from matplotlib import colors
from matplotlib.figure import Figure as Printed
from plotly.graph_objects import Figure

from studies.figures.accuracy import accuracy_by_group, accuracy_by_overhead, accuracy_by_snr
from studies.figures.chart import Chart, Line, Panel
from studies.figures.interactive import draw as draw_on_page
from studies.figures.learning import curve_columns, earlier_phases, learning_curves
from studies.figures.looks import COLOURS, Look, Looks, panel_titles
from studies.figures.printed import STYLES, draw, sheets
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
    levels = table[table["snr_db"].isna()]
    assert levels.set_index("line")["accuracy"].to_dict() == pytest.approx(
        {"text oracle": 0.42, "blind": 0.42}, abs=0.1
    )
    table = table.drop(levels.index)
    assert sorted(table["accuracy"]) == pytest.approx(sorted(ours["accuracy"]))
    assert set(table["line"]) == {
        f"{method}, {budget} tokens" for method in ("aligned", "unaligned")
        for budget in ("4+4", "16+16")
    }  # fmt: skip
    assert (table["accuracy_low"] <= table["accuracy"]).all()


def test_places_that_differ_by_a_rounding_error_are_one_on_the_page() -> None:
    """Plotly fails to draw the axis between them."""
    look = Look("#000000", "-", "o", "a")
    points = pd.DataFrame({"x": [0.3, 0.1 + 0.2], "y": [0.4, 0.6]})
    panel = Panel("", "airtime", [Line(look, points)], fronts=[points])
    figure = draw_on_page(panel, Chart("", "airtime", "accuracy", "accuracy", [panel]))
    assert [trace["x"] for trace in figure["data"]] == [[0.3, 0.3], [0.3, 0.3]]


def test_each_seeds_curve_can_be_told_apart_in_the_table(page: Path) -> None:
    curves = pd.read_csv(page.parent / "learning_curves.csv")
    assert set(curves["seed"]) == {0, 1, 2}
    assert not curves.duplicated(["panel", "line", "seed", "step"]).any()


def test_a_method_has_the_same_colour_in_all_charts(tables: Tables, results: pd.DataFrame) -> None:
    """Also where the methods before it have no results, such as those of a part of the task."""
    summary = summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)
    every = accuracy_by_snr(results, summary, tables.layout)
    without = (rows[rows["method"].ne("aligned")] for rows in (results, summary))
    some = accuracy_by_snr(*without, tables.layout)
    colours = [
        {line.look.label: line.look.colour for panel in chart.panels for line in panel.lines}
        for chart in (every, some)
    ]
    assert set(colours[0].values()) == set(COLOURS[:2])
    assert colours[1] == {k: v for k, v in colours[0].items() if k.startswith("unaligned")}


def test_references_are_lines_where_a_panel_has_a_single_place(
    tables: Tables, results: pd.DataFrame
) -> None:
    own = results[results["eval_snr_db"].ne(0)]
    summary = summarise(own, count_answers(tables, own["cell"].unique()), tables.layout)
    chart = accuracy_by_snr(own, summary, tables.layout)
    (panel,) = chart.panels
    assert len(set(panel.places)) == 1
    figure = draw_on_page(panel, chart)
    levels = [trace for trace in figure["data"] if trace["name"] in panel.levels]
    assert [trace["name"] for trace in levels] == ["text oracle", "blind"]
    assert all(trace["xaxis"] == "x2" and trace["x"] == [0, 1] for trace in levels)
    assert figure["layout"]["xaxis2"]["range"] == [0, 1]
    Figure(figure)  # plotly knows every key


def test_the_page_shows_seeds_and_lines_beside_each_other(
    tables: Tables, results: pd.DataFrame
) -> None:
    summary = summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)
    chart = accuracy_by_snr(results, summary, tables.layout)
    figure = draw_on_page(chart.panels[0], chart)
    Figure(figure)  # plotly knows every key
    traces = figure["data"]
    own = [trace for trace in traces if trace["name"] == "aligned, 4+4 tokens"]
    line, seeds = own
    assert len(seeds["x"]) == 3 * len(line["x"]) and seeds["mode"] == "markers"
    assert set(seeds["x"]) == set(line["x"])
    lines = [trace["x"][0] for trace in traces if "error_y" in trace]
    assert len(set(lines)) == len(lines) == 4
    assert max(map(abs, lines)) < 1
    assert line["hovertext"][0].startswith("0: ")


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


def test_more_methods_than_colours_differ_in_marker() -> None:
    looks = Looks([f"m{i:02}" for i in range(len(COLOURS) + 4)], ["4+4 tokens", "16+16 tokens"])
    names = [(f"m{i:02}", name) for i in range(12) for name in ("4+4 tokens", "16+16 tokens")]
    seen = {(look.colour, look.marker) for look in (looks.of(*own) for own in names)}
    assert len(seen) == len(names)


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


def test_a_seed_of_which_more_has_finished_counts_no_more_in_a_level(
    tables: Tables, results: pd.DataFrame
) -> None:
    """A level is what the summary, on the same page, says of the reference."""
    blind = results["method"].eq("blind")
    apart = results.assign(accuracy=results["accuracy"].mask(blind, results["seed"] / 4))
    column = apart["seed"].map(apart[blind].set_index("seed")["accuracy"])
    apart["blind_accuracy"] = column.where(~apart["method"].isin(tables.layout.reference_methods))
    some = apart[blind | apart["seed"].ne(2) | apart["tokens_audio"].eq(4)]
    answered = count_answers(tables, some["cell"].unique())
    summary = summarise(some, answered, tables.layout)
    (panel,) = accuracy_by_snr(some, summary, tables.layout).panels
    assert panel.levels["blind"] == {None: pytest.approx(0.25)}
    assert summary.query("method == 'blind'")["accuracy"].item() == pytest.approx(0.25)


def test_a_loss_that_is_infinite_is_a_gap(tables: Tables, results: pd.DataFrame) -> None:
    """As one that is no number, in a phase of the task and in others."""
    layout = tables.layout
    cell = results.loc[results["method"] == "aligned", "cell"].iloc[0]
    steps = tables.read_curves([cell], curve_columns(layout)).head(4).assign(eval_snr_db=math.nan)
    loss = [1.0, 2.0, math.inf, math.inf]
    task, other = layout.losses[0], layout.losses[-1]
    blank = dict.fromkeys(layout.losses, math.nan)
    learning = learning_curves(steps.assign(**{**blank, task: loss}), layout)
    earlier = earlier_phases(steps.assign(**{**blank, other: loss}), layout)
    for chart in (learning, earlier):
        (line,) = (line for panel in chart.panels for line in panel.lines)
        assert line.points["y"].tolist() == pytest.approx(
            [1.0, 1.5, math.nan, math.nan], nan_ok=True
        )


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
    blind = chart.table.query("line == 'blind'").set_index("group")["accuracy"]
    reference = summaries[groups[1]].query("method == 'blind'")["accuracy"].item()
    assert blind[groups[1]] == pytest.approx(reference)
    assert blind.nunique() > 1
    (trace,) = (own for own in draw_on_page(panel, chart)["data"] if own["name"] == "blind")
    assert trace["y"][::3] == pytest.approx([panel.levels["blind"][x] for x in sorted(panel.ticks)])
    assert trace["x"][:3] == [-0.42, 0.42, None]
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
    assert set(chart.table["snr_db"].dropna()) == {0.0, math.inf}
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
