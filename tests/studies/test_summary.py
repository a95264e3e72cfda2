"""Screen, page and pictures show every condition, each with its interval."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from studies.cli.screen import conditions_table
from studies.figures.figures import (
    accuracy_by_overhead,
    accuracy_by_snr,
    learning_curves,
    panel_titles,
)
from studies.figures.report import write_report
from studies.plan.methods import FLOORS
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.columns import CONDITION
from studies.tables.statistics import bootstrap_interval
from studies.tables.summary import count_answers, interval_note, summarise

from .outcomes import finish


def _accuracy(cell: Cell, snr_db: float) -> float:
    """Wide bands and training at the higher SNR are good."""
    good = 0.5 if cell.method.floor else 0.3 + 0.2 * (cell.bandwidth_hz > 5e6)
    return good + 0.2 * (cell.nominal_snr_db == 10)


def _summary(study: Study, root: Path) -> tuple[StudyFolder, pd.DataFrame, pd.DataFrame]:
    folder = StudyFolder(root)
    table = finish(study, folder, _accuracy)
    return folder, table, summarise(table, count_answers(folder, table["cell"].unique()))


def _shown(summary: pd.DataFrame) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(conditions_table(summary))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


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
def found(
    swept: Study, tmp_path_factory: pytest.TempPathFactory
) -> tuple[StudyFolder, pd.DataFrame, pd.DataFrame]:
    return _summary(swept, tmp_path_factory.mktemp("swept"))


Found = tuple[StudyFolder, pd.DataFrame, pd.DataFrame]


def test_the_interval_of_a_condition_is_that_of_its_answers(found: Found) -> None:
    folder, _, summary = found
    answers = pd.read_parquet(folder.answers)
    row = summary[summary["method"] == "aligned"].iloc[0]
    own = answers.merge(row[list(CONDITION)].to_frame().T.drop(columns="deadline_ms"))
    assert own["seed"].nunique() == row["seeds"] == 3
    by_clip = own.groupby(["seed", "video_id"])["exact"]
    right, asked = (by_clip.agg(how).unstack().to_numpy(int) for how in ("sum", "size"))
    interval = bootstrap_interval(right, asked)
    assert (row["accuracy_low"], row["accuracy_high"]) == (interval.low, interval.high)
    assert row["interval"] == "seeds and clips"
    assert row["accuracy"] == pytest.approx(own["exact"].mean())
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert "over seeds and clips" in interval_note(summary)


def test_no_two_lines_of_the_screen_look_alike(found: Found) -> None:
    _, _, summary = found
    shown = _shown(summary)
    lines = [line for line in shown.splitlines() if line.startswith("aligned")]
    assert len(lines) == 16
    assert len({line.split(" .")[0] for line in lines}) == 16  # what stands before the accuracy
    for word in ("MHz", "trained", "rayleigh", "4+4", "["):
        assert word in shown
    long = _shown(summary.assign(air="tdl-a csi=estimated"))
    assert "csi=est" in long and "…" not in long  # cut off, it could look like another air
    narrow = summary[(summary["bandwidth_hz"] == 5e6) & (summary["train_snr_db"] == 10)]
    assert "MHz" not in _shown(narrow)


def _lines(figure: Figure) -> dict[str, list[tuple[float, float]]]:
    """By panel and label of the legend, the points of the means."""
    drawn = {}
    for panel in figure.axes:
        bars = [container for container in panel.containers if len(container) == 3]
        for bar in bars:
            points = [(float(x), float(y)) for x, y in bar[0].get_xydata()]
            drawn[f"{panel.get_title()}: {bar[0].get_linestyle()}"] = points
    return drawn


def test_no_line_goes_through_the_mean_of_two_conditions(found: Found) -> None:
    _, table, summary = found
    drawn = _lines(accuracy_by_snr(table, summary))
    assert len(drawn) == 2 * 2 * 2
    known = {(row["eval_snr_db"], row["accuracy"]) for _, row in summary.iterrows()}
    assert all(point in known for points in drawn.values() for point in points)
    assert all([x for x, _ in points] == [0.0, 10.0] for points in drawn.values())
    assert len(_lines(accuracy_by_overhead(table, summary))) == 2 * 2 * 2


def test_learning_curves_have_a_panel_for_what_is_swept(found: Found) -> None:
    folder, _, _ = found
    figure = learning_curves(pd.read_parquet(folder.curves))
    assert [panel.get_title() for panel in figure.axes] == [
        f"rayleigh, {mhz} MHz, trained at {snr} dB" for mhz in (5, 10) for snr in (0, 10)
    ]
    for panel in figure.axes:
        assert len([line for line in panel.lines if len(line.get_xydata())]) == 2 * 3


def test_titles_say_no_more_than_they_must(found: Found) -> None:
    _, table, _ = found
    ours = table[~table["method"].isin(FLOORS)]
    assert panel_titles(ours).nunique() == 4
    assert set(panel_titles(ours[ours["bandwidth_hz"] == 5e6])) == {
        "rayleigh, trained at 0 dB",
        "rayleigh, trained at 10 dB",
    }


def test_two_seeds_are_marked_as_such(swept: Study, tmp_path: Path) -> None:
    study = swept.model_copy(
        update={"seeds": (0, 1), "train_snr_db": (10.0,), "bandwidth_hz": (5e6,)}
    )
    _, _, summary = _summary(study, tmp_path)
    assert set(summary["interval"]) == {"clips"}
    assert "over clips alone" in interval_note(summary)
    mixed = summary.assign(interval=["seeds and clips", *["clips"] * (len(summary) - 1)])
    assert _shown(mixed).count("]*") == len(summary) - 1
    assert "marked *" in interval_note(mixed)


def test_no_noise_has_a_place_in_the_picture(swept: Study, tmp_path: Path) -> None:
    study = swept.model_copy(
        update={"eval_snr_db": (0.0, float("inf")), "seeds": (0,), "bandwidth_hz": (5e6,)}
    )
    _, table, summary = _summary(study, tmp_path)
    figure = accuracy_by_snr(table, summary)
    assert all(len(points) == 2 for points in _lines(figure).values())
    assert figure.axes[0].get_xticklabels()[-1].get_text() == "∞"


def test_a_study_from_before_answers_were_kept_is_still_shown(swept: Study, tmp_path: Path) -> None:
    study = swept.model_copy(update={"bandwidth_hz": (5e6,), "seeds": (0,)})
    folder, table, _ = _summary(study, tmp_path)
    for file in folder.answers.iterdir():
        file.unlink()
    for file in folder.curves.iterdir():
        curves = pd.read_parquet(file)
        curves[["study", "cell", "seed", "method", "stage", "step", "task"]].to_parquet(file)
    summary = summarise(table, count_answers(folder, table["cell"].unique()))
    assert summary["accuracy_low"].isna().all()
    assert "[" not in _shown(summary)
    assert "not kept" in interval_note(summary)
    assert len(write_report(folder, table)) == 4


def test_the_page_shows_conditions_and_escapes_what_it_shows(found: Found) -> None:
    folder, table, _ = found
    written = write_report(folder, table.assign(study="<script>alert(1)</script>"))
    assert {file.suffix for file in written} == {".png", ".html"}
    assert all(file.stat().st_size > 1000 for file in written)
    page = (folder.report / "report.html").read_text()
    assert "<script>" not in page
    for name in (*CONDITION, "accuracy_low", "accuracy_high", "interval"):
        assert f"<th>{name}</th>" in page
    assert "95 % bootstrap interval over seeds and clips" in page
