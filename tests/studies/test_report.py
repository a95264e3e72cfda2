"""The report: charts as files and on a page, verdicts on claims, fronts."""

from __future__ import annotations

import io
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from matplotlib import colors
from rich.console import Console

import studies
from studies.cli.screen import conditions_table
from studies.figures.accuracy import accuracy_by_group, accuracy_by_overhead
from studies.figures.looks import COLOURS
from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.differences import without_defaults
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.claims import judge, unjudged, verdict
from studies.tables.files import Tables
from studies.tables.frontier import pareto
from studies.tables.layout import layout_of
from studies.tables.summary import count_answers, summarise, summarise_part

from .outcomes import finish, tables_of

CLAIMS = [
    {"better": "aligned", "than": "unaligned", "source": "a paper's Fig. 2"},
    {"better": "unaligned", "than": "aligned", "by": 0.05, "eval_snr_db": 0},
    {"better": "aligned", "than": "blind", "part": "audio_counting", "by": -0.9},
]


def _accuracy(cell: Cell, snr_db: float) -> float:
    """Aligned tokens are better, and more with noise; long ones are as good as short ones."""
    better = 0.2 if snr_db == 0 else 0.001
    return 0.4 + better * (cell.method == "aligned") + 0.02 * cell.seed


@pytest.fixture(scope="module")
def study() -> Study:
    return Study(
        name="reported",
        description="Which is better? <b>bold</b>",
        claims=CLAIMS,
        methods=["aligned", "unaligned"],
        eval_snr_db=[0, 10],
        tokens=[{"audio": 4, "vision": 4}, {"audio": 16, "vision": 16}],
        seeds=[0, 1, 2],
    )


@pytest.fixture(scope="module")
def tables(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    tables = tables_of(study, StudyFolder(tmp_path_factory.mktemp("reported")))
    finish(study, tables.folder, _accuracy)
    return tables


@pytest.fixture(scope="module")
def results(study: Study, tables: Tables) -> pd.DataFrame:
    return pd.read_parquet(tables.folder.results).sort_values(list(tables.layout.sort_by))


@pytest.fixture(scope="module")
def page(study: Study, tables: Tables, results: pd.DataFrame) -> Path:
    written = write_report(study, tables, results.assign(study="<script>alert(1)</script>"))
    assert {file.suffix for file in written} == {".png", ".csv", ".html"}
    assert all(file.stat().st_size > 100 for file in written)
    return written[-1]


def test_the_page_shows_everything_and_escapes_it(page: Path, tables: Tables) -> None:
    text = page.read_text()
    assert "<b>bold" not in text and "&lt;b&gt;bold" in text
    assert "alert(1)" not in text
    names = ("method", "tokens_audio", "eval_snr_db", "accuracy", "accuracy_low", "accuracy_high")
    for name in names:
        assert f'<button type="button">{name}</button>' in text
    assert '<button type="button">bandwidth_hz</button>' not in text  # all the same: in the set-up
    assert "95 % interval over seeds and clips" in text
    assert "https://" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)
    for title in (
        "What airtime buys",
        "Accuracy by SNR",
        "Accuracy by overhead",
        "Accuracy by training",
        "Learning curves",
    ):
        assert f"<h2>{title}</h2>" in text


def test_the_page_says_how_to_make_it_again(page: Path, study: Study) -> None:
    text = page.read_text()
    (again,) = re.findall(r"<pre>(name: reported.*?)</pre>", text, re.DOTALL)[:1]
    keys = yaml.safe_load(again.replace("&lt;", "<").replace("&gt;", ">").replace("&#39;", "'"))
    assert Study(**keys) == study
    assert len(keys) < 10


@pytest.mark.parametrize("preset", studies.presets())
def test_what_a_study_changes_gives_it_again(preset: str) -> None:
    study = studies.load(preset)
    assert Study(**without_defaults(study)) == study
    assert study.description


def test_the_page_works_in_a_browser(page: Path, tmp_path: Path) -> None:
    """Without a network: every chart is drawn, with no complaint on the console."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    options += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=400,900"]
    options += ["--disable-background-networking", "--dump-dom", page.as_uri()]
    shown = subprocess.run([browser, *options], capture_output=True, text=True, timeout=120)
    plots = re.findall(r'<div id="[a-z_]+-\d+" class="plotly-graph-div', shown.stdout)
    assert len(plots) >= 4
    assert shown.stdout.count('class="main-svg"') >= len(plots)
    assert "CONSOLE" not in shown.stderr


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

    written = write_report(study, tables, results, style_of("ieee"))
    assert {file.suffix for file in written} == {".pdf"}
    for file in written:
        (box,) = set(re.findall(rb"/MediaBox \[ ?0 0 ([\d.]+) ", file.read_bytes()))
        assert float(box) == pytest.approx(3.5 * 72)
    with pytest.raises(ValueError, match="no style 'acm' of figures; there are: ieee"):
        style_of("acm")


def test_a_claim_is_what_its_interval_says() -> None:
    assert verdict(0.01, 0.05) == "shown"
    assert verdict(-0.01, 0.05) == "not shown"
    assert verdict(-0.05, -0.01) == "contradicted"
    assert verdict(0.01, 0.05, by=0.02) == "not shown"
    assert verdict(-0.01, 0.05, by=-0.02) == "shown"
    assert verdict(math.nan, math.nan) == "not shown"


def test_a_studys_claims_are_judged_in_each_condition(study: Study, page: Path) -> None:
    found = studies.judge(page.parents[1])
    first = found[found["claim"] == "aligned is more accurate than unaligned"]
    assert len(first) == 4
    assert set(first.loc[first["eval_snr_db"] == 0, "verdict"]) == {"shown"}
    assert set(first.loc[first["eval_snr_db"] == 10, "verdict"]) == {"not shown"}
    assert set(first["source"]) == {"a paper's Fig. 2"}
    reverse = found[found["claim"] == "unaligned is more accurate than aligned by more than 0.05"]
    assert list(reverse["eval_snr_db"]) == [0.0, 0.0]
    assert set(reverse["verdict"]) == {"contradicted"}
    last = found[found["claim"] == "aligned loses less than 0.9 against blind (audio_counting)"]
    assert set(last["verdict"]) == {"shown"}


def test_a_claim_about_what_a_study_leaves_out_is_untested(tables: Tables) -> None:
    """A preset's methods may be set to others, or its task to a part of it."""
    claims = [{"better": "align", "than": "blind"}, {**CLAIMS[0], "part": "x"}]
    study = Study(name="a", methods=["aligned"], claims=claims)
    found = judge(tables, pd.read_parquet(tables.folder.results), study.claims)
    assert list(found["verdict"]) == ["untested", "untested"]
    reasons = found["reason"].tolist()
    assert "no finished cell of the method 'align'" in reasons[0]
    assert "no part or group 'x' of the task" in reasons[1]
    with pytest.raises(ValueError, match="less than 1"):
        Study(name="a", claims=[{"better": "aligned", "than": "blind", "by": 2}])


def test_claims_that_nothing_can_judge_are_named_before_the_study_runs() -> None:
    wrong = {
        "no method 'align'; there are: aligned, blind": {"better": "align", "than": "blind"},
        "its two sides are the same": {"better": "aligned", "than": "aligned"},
        "no token lengths {'audio': 5}": {"tokens": {"audio": 5}},
        "no part or group 'x'": {"part": "x"},
        "eval_snr_db is 0, 10": {"eval_snr_db": 7},
    }
    right = [
        {"better": "aligned", "than": "blind", "tokens": {"audio": 16}, "eval_snr_db": [7, 10]}
    ]
    claims = [{"better": "aligned", "than": "blind", **keys} for keys in wrong.values()]
    study = Study(name="a", methods=["aligned"], eval_snr_db=[0, 10], claims=[*right, *claims])
    found = unjudged(study, layout_of(study))
    assert len(found) == len(wrong)
    assert all(reason in note for reason, note in zip(wrong, found, strict=True))


def test_a_claim_can_be_about_two_token_lengths(tmp_path: Path) -> None:
    """Long tokens of the worse method are better than short ones of the other one."""
    long, short = {"audio": 16, "vision": 16}, {"audio": 4, "vision": 4}
    study = Study(
        name="a",
        methods=["aligned", "unaligned"],
        tokens=[short, long],
        seeds=[0, 1, 2],
        claims=[
            {"better": "aligned", "than": "unaligned", "than_tokens": long},
            {"better": "aligned", "tokens": long, "than": "aligned", "than_tokens": short},
            {"better": "aligned", "tokens": short, "than": "unaligned"},
            {"better": "aligned", "tokens": {"audio": 4, "vision": 16}, "than": "unaligned"},
            {"better": "aligned", "than": "unaligned", "than_tokens": {"image": 4}},
        ],
    )
    tables = tables_of(study, StudyFolder(tmp_path))

    def accuracy(cell: Cell, snr_db: float) -> float:
        longer = cell.trained.tokens.get("audio") == 16
        return 0.2 + 0.1 * (cell.method == "aligned") + 0.4 * longer

    results = finish(study, tables.folder, accuracy)
    first, second, third, *untested = (judge(tables, results, [own]) for own in study.claims)
    assert list(first["tokens_audio"]) == [4, 16]
    assert list(first["verdict"]) == ["contradicted", "shown"]
    assert set(first["claim"]) == {
        "aligned is more accurate than unaligned at 16 audio, 16 vision tokens"
    }
    assert second[["tokens_audio", "verdict"]].to_numpy().tolist() == [[16, "shown"]]
    assert third[["tokens_audio", "verdict"]].to_numpy().tolist() == [[4, "shown"]]
    assert [rows["verdict"].item() for rows in untested] == ["untested", "untested"]
    assert "no finished cell of the method 'aligned at 4 audio, 16" in untested[0]["reason"].item()
    assert "no token length of a device 'image'; there are: " in untested[1]["reason"].item()


def test_a_claim_can_be_about_how_fast_a_method_learns(tmp_path: Path) -> None:
    """The seeds' networks are paired: they differ more than the methods."""
    long, short = {"audio": 16, "vision": 16}, {"audio": 4, "vision": 4}
    measure = {"measure": "training_loss"}
    study = Study(
        name="a",
        methods=["aligned", "unaligned"],
        tokens=[short, long],
        eval_snr_db=[0, 10],
        seeds=[0, 1, 2],
        claims=[
            {"better": "aligned", "than": "unaligned", **measure},
            {"better": "aligned", "than": "aligned", "tokens": short, "than_tokens": long}
            | measure,
            {"better": "aligned", "than": "unaligned", "by": 0.2, **measure},
            {"better": "aligned", "than": "reconstruction", **measure},
        ],
    )
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, _accuracy)
    for cell in Plan(study).known_cells({}):
        better = 0.1 * (cell.method == "aligned") + 0.001 * cell.seed
        phase = tmp_path / "phase.parquet"
        losses = [{"task": 1.0 / (1 + step) + cell.seed - better} for step in range(5)]
        tables.write_phase_curves(phase, "fine-tuning", losses)
        tables.write_curves(cell, [phase])
    faster, longer, margin, unknown = (judge(tables, results, [own]) for own in study.claims)
    assert list(faster["tokens_audio"]) == [4, 16]
    assert faster["difference"].tolist() == pytest.approx([0.1, 0.1])
    assert set(faster["verdict"]) == {"shown"}
    assert faster["claim"][0] == "aligned learns with less loss than unaligned"
    assert longer["difference"].tolist() == pytest.approx([0])
    assert set(margin["verdict"]) == {"contradicted"}
    assert "no trained network" in unknown["reason"].item()
    with pytest.raises(ValueError, match="a training loss has no part and no eval_snr_db"):
        Study(name="a", claims=[{**CLAIMS[1], **measure}])


def test_a_claim_that_no_cell_can_judge_is_untested(tmp_path: Path, study: Study) -> None:
    tables = tables_of(study, StudyFolder(tmp_path))
    results = finish(study, tables.folder, _accuracy)
    for file in results.loc[results["method"] == "unaligned", "cell"]:
        tables.folder.result(file).unlink(missing_ok=True)
    found = studies.judge(tmp_path)
    row = found[found["claim"] == "aligned is more accurate than unaligned"].iloc[0]
    assert row["verdict"] == "untested"
    assert "no finished cell of the method 'unaligned'" in row["reason"]


def test_the_page_has_claims_of_which_none_was_tested(tmp_path: Path, study: Study) -> None:
    claims = [{"better": "align", "than": "blind"}]
    own = Study(**{**study.model_dump(), "methods": ["aligned"], "claims": claims})
    tables = tables_of(own, StudyFolder(tmp_path))
    *_, page = write_report(own, tables, finish(own, tables.folder, _accuracy))
    assert "no finished cell of the method &#39;align&#39;" in page.read_text()


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


def test_a_narrower_link_carries_less_and_takes_longer(tables: Tables) -> None:
    """Four users on equal shares of a band are one user on a quarter of it."""
    out = tables.folder.root
    whole = studies.budget(out, 5e6, snr_db=3.0)
    assert set(whole["eval_snr_db"]) == {0.0}  # the next lower one
    assert set(whole["method"]) == {"aligned", "unaligned"}
    assert whole["accuracy"].is_monotonic_decreasing
    summary = studies.summarise(out).query("eval_snr_db == 0")
    measured = summary[summary["method"].isin(["aligned", "unaligned"])]["airtime_ms"]
    assert sorted(whole["airtime_ms"]) == pytest.approx(sorted(measured))
    quarter = studies.budget(out, 1.25e6, snr_db=0.0)
    assert quarter["airtime_ms"].min() > 2 * whole["airtime_ms"].min()
    shared = studies.budget(out, 5e6, snr_db=0.0, users=4)
    pd.testing.assert_frame_equal(shared, quarter)
    short_ms = float(quarter["airtime_ms"].min())
    in_time = studies.budget(out, 1.25e6, short_ms, 0.0)
    assert len(in_time) and (in_time["airtime_ms"] <= short_ms).all()


def test_computing_stays_on_another_link_and_counts_for_the_deadline(
    tmp_path: Path, study: Study
) -> None:
    keys = study.model_dump()
    slow = Study(**{**keys, "compute": {"device_gflops": 2, "station_gflops": 2}, "seeds": [0]})
    finish(slow, StudyFolder(tmp_path), _accuracy)
    computing_ms = {
        share: (found["latency_ms"] - found["airtime_ms"]).sort_values().to_numpy()
        for share in (5e6, 1.25e6)
        for found in [studies.budget(tmp_path, share, snr_db=0.0)]
    }
    assert computing_ms[5e6] == pytest.approx(computing_ms[1.25e6])
    assert computing_ms[5e6].min() > 0
    airtime_ms = float(studies.budget(tmp_path, 5e6, snr_db=0.0)["airtime_ms"].max())
    with pytest.raises(ValueError, match="nothing that was measured takes"):
        studies.budget(tmp_path, 5e6, airtime_ms, 0.0)


def test_a_share_of_the_band_is_as_fast_as_the_users_of_an_emulation_had_it(
    tmp_path: Path, study: Study
) -> None:
    changed = {"emulate": {"users_at_once": 4}, "bandwidth_hz": [2e7], "seeds": [0]}
    finish(Study(**{**study.model_dump(), **changed}), StudyFolder(tmp_path), _accuracy)
    found = studies.budget(tmp_path, 2e7, snr_db=0.0, users=4)
    measured = studies.summarise(tmp_path).query("eval_snr_db == 0 and method != 'blind'")
    assert sorted(found["airtime_ms"]) == pytest.approx(sorted(measured["airtime_ms"]))


def test_deadlines_that_share_their_answers_count_once(tmp_path: Path, study: Study) -> None:
    """Which of them is met stands on the screen; claims, charts and pairs have one of them."""
    changed = {"deadline_ms": [0.5, 1.0, None], "seeds": [0, 1]}
    own = Study(**{**study.model_dump(), **changed})
    folder = StudyFolder(tmp_path)
    results = finish(own, folder, _accuracy)
    claim = studies.judge(tmp_path).query("claim == 'aligned is more accurate than unaligned'")
    assert len(claim) == len(own.eval_snr_db) * len(own.tokens)
    assert len(studies.compare(tmp_path, "aligned", "unaligned")) == len(claim)
    *_, page = write_report(own, tables_of(own, folder), results)
    chart = pd.read_csv(page.parent / "accuracy_by_snr.csv")
    assert chart["panel"].unique().tolist() == ["awgn"]
    summary = studies.summarise(tmp_path)
    console = Console(file=io.StringIO(), width=100)
    console.print(conditions_table(summary, tables_of(own, folder).layout))
    assert isinstance(console.file, io.StringIO)
    words = {tuple(line.split()[-2:]) for line in console.file.getvalue().splitlines() if line}
    assert {("1", "no"), ("1", "yes"), ("1", "-")} <= words


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bandwidth_hz": 5e6, "deadline_ms": 1e-3}, "nothing that was measured takes 0.001 ms"),
        ({"bandwidth_hz": 5e6, "snr_db": -5}, "snr_db -5 is below all evaluated ones, from 0 on"),
        ({"bandwidth_hz": 5e6, "users": 40}, "leaves 125000 Hz to each user, too little"),
        ({"bandwidth_hz": 5e6, "users": 0}, "users 0 should be at least 1"),
        ({"bandwidth_hz": 5e6, "deadline_ms": -1}, "deadline_ms -1 should be positive"),
        ({"bandwidth_hz": 10}, "leaves 10 Hz to each user, too little for 3 devices"),
    ],
)
def test_a_link_that_carries_nothing_is_refused(
    tables: Tables, asked: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        studies.budget(tables.folder.root, **asked)  # type: ignore[arg-type]


def test_the_command_says_what_a_link_carries(
    tables: Tables, shown: Callable[..., str], refused: Callable[..., str]
) -> None:
    link = ("budget", tables.folder.root, "--bandwidth", 1.25e6)
    said = shown(*link, "--snr", 0, "--users", 1)
    lines = [line.split() for line in said.splitlines() if "aligned" in line]
    assert len(lines) == 4
    assert lines[0][0] == "aligned" and "ms on this link" in said
    assert refused(*link, "--deadline", 0.001).startswith("tokcom: nothing that was measured")
