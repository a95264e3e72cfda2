"""Screen, page and pictures show every condition, each with its interval."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

import studies
from studies.cli.screen import conditions_note, conditions_table, reasons_note
from studies.figures.accuracy import accuracy_by_overhead, accuracy_by_snr
from studies.figures.chart import Chart
from studies.figures.learning import earlier_phases, learning_curves
from studies.figures.looks import panel_titles
from studies.figures.printed import draw
from studies.figures.report import write_report
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.columns import ReferenceColumn, TableLayout
from studies.tables.files import Tables
from studies.tables.filters import without_references
from studies.tables.findings import Findings
from studies.tables.layout import layout_of
from studies.tables.learning import compare_learning
from studies.tables.statistics import mean_interval
from studies.tables.summary import count_answers, interval_note, summarise

from .outcomes import finish, tables_of
from .screen import screen_text


def _accuracy(cell: Cell, snr_db: float) -> float:
    """Wide bands and training at the higher SNR are good."""
    good = 0.5 if cell.reference is not None else 0.3 + 0.2 * (cell.bandwidth_hz > 5e6)
    return good + 0.2 * (cell.nominal_snr_db == 10)


Found = tuple[Tables, pd.DataFrame, pd.DataFrame]


def _summarised(tables: Tables, results: pd.DataFrame) -> pd.DataFrame:
    return summarise(results, count_answers(tables, results["cell"].unique()), tables.layout)


def _summary(study: Study, root: Path) -> Found:
    tables = tables_of(study, StudyFolder(root))
    results = finish(study, tables.folder, _accuracy)
    return tables, results, _summarised(tables, results)


def _shown(summary: pd.DataFrame, layout: TableLayout) -> str:
    return screen_text(conditions_table(summary, layout), width=80)


def test_the_realised_snr_is_shown_where_the_nominal_one_is_not_received(found: Found) -> None:
    """Two bandwidths of the same power: `realised_snr_db` differs by what doubling costs."""
    tables, results, _ = found
    wide = results["bandwidth_hz"].eq(1e7)
    moved = results.assign(realised_snr_db=results["realised_snr_db"] - 3.0103 * wide)
    summary = _summarised(tables, moved)
    shown = screen_text(conditions_table(summary, tables.layout, realised=True))
    assert "realised" in shown and " 7.0 " in shown and " 10.0 " in shown
    assert "realised" not in _shown(summary, tables.layout)


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two bandwidths, two training SNRs, two budgets, three seeds."""
    return Study(
        name="swept",
        methods=["aligned"],
        airs=["rayleigh"],
        train_snr_db=[0, 10],
        eval_snr_db=[0, 10],
        bandwidth_hz=[5e6, 1e7],
        tokens=[{"audio": 4, "vision": 4}, {"audio": 16, "vision": 16}],
        seeds=[0, 1, 2],
    )


@pytest.fixture(scope="module")
def found(swept: Study, tmp_path_factory: pytest.TempPathFactory) -> Found:
    return _summary(swept, tmp_path_factory.mktemp("swept"))


def test_the_interval_of_a_condition_is_that_of_its_answers(found: Found) -> None:
    tables, _, summary = found
    answers = pd.read_parquet(tables.folder.answers)
    row = summary[summary["method"] == "aligned"].iloc[0]
    own = answers.merge(row[list(tables.layout.condition)].to_frame().T.drop(columns="deadline_ms"))
    assert own["seed"].nunique() == row["seeds"] == 3
    by_clip = own.groupby(["seed", "media_id"])["exact"]
    right, asked = (by_clip.agg(how).unstack().to_numpy(int) for how in ("sum", "size"))
    interval = mean_interval(right, asked)
    assert (row["accuracy_low"], row["accuracy_high"]) == (interval.low, interval.high)
    assert row["interval"] == "seeds and clips"
    assert row["accuracy"] == pytest.approx(own["exact"].mean())
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert "over seeds and clips" in interval_note(summary)


def test_a_finished_study_is_summarised_by_its_folder(found: Found) -> None:
    """In pandas: all questions, or those of one group."""
    tables, _, summary = found
    out = tables.folder.root
    pd.testing.assert_frame_equal(studies.summarise(out), summary)
    group = "audio_counting"
    own = studies.summarise(out, group)
    answers = pd.read_parquet(tables.folder.answers).query(f"group == '{group}'")
    expected = answers[answers["method"] == "aligned"].groupby("eval_snr_db")["right"].mean()
    costs = ("uplink_channel_uses", "airtime_ms", "latency_ms", "energy_mj", "realised_snr_db")
    assert not {*costs} & {*own}  # which are those of all questions
    assert {*costs} < {*summary}
    row = own[(own["method"] == "aligned") & (own["eval_snr_db"] == 0)]
    assert row["questions"].sum() == len(answers.query("method == 'aligned' and eval_snr_db == 0"))
    weighted = (row["accuracy"] * row["questions"]).sum() / row["questions"].sum()
    assert weighted == pytest.approx(expected[0.0])
    with pytest.raises(ValueError, match="no part or group 'counting' of the task; there are: "):
        studies.summarise(out, "counting")


def test_no_two_lines_of_the_screen_look_alike(found: Found) -> None:
    tables, _, summary = found
    layout = tables.layout
    shown = _shown(summary, layout)
    lines = [line for line in shown.splitlines() if line.startswith("aligned")]
    assert len(lines) == 16
    assert len({line.split(" .")[0] for line in lines}) == 16  # what stands before the accuracy
    for word in ("MHz", "trained", "rayleigh", "4+4", "["):
        assert word in shown
    long = _shown(summary.assign(air="tdl-a csi=estimated"), layout)
    assert "csi=est" in long and "…" not in long  # cut off, it could look like another air
    narrow = summary[(summary["bandwidth_hz"] == 5e6) & (summary["train_snr_db"] == 10)]
    assert "MHz" not in _shown(narrow, layout)


def _lines(chart: Chart) -> dict[str, list[tuple[float, float]]]:
    """By panel and label, the points of the means."""
    return {
        f"{panel.title}: {line.look.label}": list(
            line.points[["x", "y"]].itertuples(index=False, name=None)
        )
        for panel in chart.panels
        for line in panel.lines
    }


def test_no_line_goes_through_the_mean_of_two_conditions(found: Found) -> None:
    tables, table, summary = found
    drawn = _lines(accuracy_by_snr(table, summary, tables.layout))
    assert len(drawn) == 2 * 2 * 2
    known = {(row["eval_snr_db"], row["accuracy"]) for _, row in summary.iterrows()}
    assert all(point in known for points in drawn.values() for point in points)
    assert all([x for x, _ in points] == [0.0, 10.0] for points in drawn.values())
    assert len(_lines(accuracy_by_overhead(table, summary, tables.layout))) == 2 * 2 * 2


def test_learning_curves_have_a_panel_for_what_is_swept(found: Found) -> None:
    tables, table, _ = found
    curves = tables.read_curves(list(table["cell"].unique())).assign(eval_snr_db=math.nan)
    chart = learning_curves(curves, tables.layout)
    assert [panel.title for panel in chart.panels] == [
        f"rayleigh, {mhz} MHz, trained at {snr} dB" for mhz in (5, 10) for snr in (0, 10)
    ]
    assert all(len(panel.lines) == 2 * 3 for panel in chart.panels)


def test_titles_say_no_more_than_they_must(found: Found) -> None:
    tables, table, _ = found
    ours = without_references(table, tables.layout)
    assert panel_titles(ours, tables.layout).nunique() == 4
    assert set(panel_titles(ours[ours["bandwidth_hz"] == 5e6], tables.layout)) == {
        "rayleigh, trained at 0 dB",
        "rayleigh, trained at 10 dB",
    }


def test_two_seeds_are_marked_as_such(swept: Study, tmp_path: Path) -> None:
    study = swept.model_copy(
        update={"seeds": (0, 1), "train_snr_db": (10.0,), "bandwidth_hz": (5e6,)}
    )
    tables, table, summary = _summary(study, tmp_path)
    assert set(summary["interval"]) == {"clips"}
    assert "over clips alone" in interval_note(summary)
    mixed = summary.assign(interval=["seeds and clips", *["clips"] * (len(summary) - 1)])
    assert _shown(mixed, tables.layout).count("]*") == len(summary) - 1
    assert "where marked *, over clips" in conditions_note(table, mixed, tables.layout)
    note = accuracy_by_snr(table, mixed, tables.layout).note  # nothing has a mark there
    assert "*" not in note and "of fewer than three seeds, over clips alone" in note


def test_no_noise_has_a_place_in_the_picture(swept: Study, tmp_path: Path) -> None:
    study = swept.model_copy(
        update={"eval_snr_db": (0.0, float("inf")), "seeds": (0,), "bandwidth_hz": (5e6,)}
    )
    tables, table, summary = _summary(study, tmp_path)
    chart = accuracy_by_snr(table, summary, tables.layout)
    assert all(len(points) == 2 for points in _lines(chart).values())
    assert list(chart.panels[0].ticks.values()) == ["0", "∞"]
    assert draw(chart).axes[0].get_xticklabels()[-1].get_text() == "∞"


def test_a_study_whose_answers_were_removed_is_shown_without_intervals(
    swept: Study, tmp_path: Path
) -> None:
    study = swept.model_copy(update={"bandwidth_hz": (5e6,), "seeds": (0,)})
    tables, table, _ = _summary(study, tmp_path)
    for file in tables.folder.answers.iterdir():
        file.unlink()
    summary = _summarised(tables, table)
    assert summary["accuracy_low"].isna().all()
    assert "[" not in _shown(summary, tables.layout)
    assert "not kept" in interval_note(summary)
    assert (tables.folder.report / "report.html") in write_report(Findings(swept, tables, table))


@pytest.fixture
def radio() -> TableLayout:
    """Of a system without token budgets, whose names have nothing in common with paper 1's."""
    return TableLayout(
        devices=("left", "right", "radio"),
        losses=("pose",),
        methods=("dense", "sparse"),
        references=(ReferenceColumn("majority-vote", "lower"),),
    )


def test_another_systems_conditions_are_shown(radio: TableLayout) -> None:
    shared = {"air": "awgn", "status": "ok", "test_questions": 10, "users": 1, "seed": 0}
    costs = {"uplink_channel_uses": 64.0, "airtime_ms": 0.5}
    rows = [
        {
            **shared,
            **costs,
            "method": method,
            "cell": f"{method} {snr_db}",
            "eval_snr_db": snr_db,
            "accuracy": 0.5,
            "majority_vote_accuracy": 0.3,
        }
        for method in ("dense", "sparse")
        for snr_db in (0.0, 10.0)
    ]
    own = {"method": "majority-vote", "accuracy": 0.3, "majority_vote_accuracy": None}
    rows.append({**rows[0], **own})
    results = pa.Table.from_pylist(rows, schema=radio.results).to_pandas()
    answered = pd.DataFrame(columns=["cell", "eval_snr_db", "media_id", "right", "asked"])
    summary = summarise(results, answered, radio)
    assert "dense awgn 0 - .500" in " ".join(_shown(summary, radio).split())
    assert "tokens" not in conditions_note(results, summary, radio)
    for chart, label in ((accuracy_by_snr, "dense"), (accuracy_by_overhead, "dense, 0 dB")):
        (panel,) = chart(results, summary, radio).panels
        assert label in {line.look.label for line in panel.lines}
        assert panel.levels == {"majority vote": {None: pytest.approx(0.3)}}


def test_phases_that_train_the_same_loss_have_panels_of_their_own(radio: TableLayout) -> None:
    rows = [
        {"method": "dense", "cell": "a", "air": "awgn", "phase": phase, "step": step, "pose": 1.0}
        for phase in ("pretraining", "tuning")
        for step in range(4)
    ]
    curves = pa.Table.from_pylist(rows, schema=radio.curves).to_pandas()
    chart = learning_curves(curves.assign(eval_snr_db=math.nan), radio)
    assert [panel.title for panel in chart.panels] == ["pretraining: awgn", "tuning: awgn"]
    assert [panel.x_label for panel in chart.panels] == ["pretraining step", "tuning step"]
    assert chart.y_label == "pose loss (15-step mean)"


def test_phases_that_do_not_train_the_task_show_the_sum_of_their_losses(
    found: Found,
) -> None:
    tables, table, _ = found
    curves = tables.read_curves(list(table["cell"].unique())).assign(eval_snr_db=math.nan)
    assert not earlier_phases(curves, tables.layout).panels
    first, second, third = tables.layout.losses[:3]
    own = curves.assign(phase="alignment", **{first: math.nan, second: 1.0, third: 2.0})
    chart = earlier_phases(pd.concat([curves, own]), tables.layout)
    assert {panel.x_label for panel in chart.panels} == {"alignment step"}
    assert all(line.points["y"].eq(3).all() for panel in chart.panels for line in panel.lines)
    diverged = own.assign(**{third: own[third].where(own["step"] < 2)})
    (panel, *_) = earlier_phases(diverged, tables.layout).panels
    steps = panel.lines[0].points.set_index("x")["y"]
    assert steps[steps.index < 2].eq(3).all()
    assert steps[steps.index >= 2].isna().all()  # no loss of 1, as if nothing had happened


def test_networks_that_are_trained_where_they_are_tested_are_one_curve(tmp_path: Path) -> None:
    study = Study(
        name="matched",
        methods=["aligned"],
        train_snr_db=[10, "matched"],
        eval_snr_db=[0, 10],
        seeds=[0, 1],
    )
    tables, results, summary = _summary(study, tmp_path)
    own = without_references(summary, tables.layout)
    titles = panel_titles(own, tables.layout)
    assert own.groupby(titles)["eval_snr_db"].agg(list).to_dict() == {
        "awgn, trained at each SNR": [0, 10],
        "awgn, trained at 10 dB": [0, 10],
    }
    shown = _shown(summary, tables.layout)
    assert shown.count("matched") == 2
    curves = studies.curve(own)
    assert curves.index.to_list() == [0, 10] and curves.shape == (2, 2)
    report = tables.folder.report
    write_report(Findings(study, tables, results))
    assert ">matched<" in (report / "report.html").read_text()
    learnt = pd.read_csv(report / "learning_curves.csv")
    assert not learnt.duplicated(["panel", "line", "seed", "step"]).any()
    curves_of = learnt.groupby(["panel", "line", "seed"]).ngroups
    assert (learnt["step"].diff() <= 0).sum() + 1 == curves_of  # none is drawn in pieces


def test_matched_networks_learn_at_their_own_snr(tmp_path: Path) -> None:
    study = Study(
        name="matched",
        methods=["aligned", "unaligned"],
        train_snr_db="matched",
        eval_snr_db=[0, 10],
        seeds=[0, 1, 2],
    )
    tables, results, _ = _summary(study, tmp_path)
    learnt = compare_learning(tables, results, "aligned", "unaligned")
    assert learnt[["eval_snr_db", "seeds"]].to_numpy().tolist() == [[0, 3], [10, 3]]


def test_reasons_are_told_once_with_method_and_air_and_not_all_of_many() -> None:
    layout = layout_of(Study(name="s"))
    rows = [("own", "awgn", "no clip"), ("own", "awgn", "no clip"), ("blind", "awgn", "no text")]
    few = pd.DataFrame(rows, columns=["method", "air", "reason"])
    assert reasons_note(few, layout).plain == "blind: no text; own on awgn: no clip"
    many = pd.DataFrame({"method": "own", "air": "awgn", "reason": [f"no {i}" for i in range(10)]})
    assert reasons_note(many, layout).plain.endswith("own on awgn: no 7; and 2 more, see 'reason'")
