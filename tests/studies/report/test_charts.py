"""Charts: what they show of the tables, and their own tables."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest
from plotly.graph_objects import Figure

from studies.figures.accuracy import accuracy_by_group, accuracy_by_overhead, accuracy_by_snr
from studies.figures.chart import Chart, Line, Panel
from studies.figures.interactive import draw as draw_on_page
from studies.figures.learning import curve_columns, earlier_phases, learning_curves
from studies.figures.looks import Look
from studies.plan.study import Study
from studies.tables.files import Tables
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
