"""The page: what it shows, and that it works in a browser."""

from __future__ import annotations

import html
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

import studies
from studies.cli.main import main
from studies.figures.page import render
from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.differences import without_defaults
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.columns import SERVICE_COLUMNS
from studies.tables.files import Tables
from studies.tables.findings import Findings

from ..outcomes import CLIPS, QUESTIONS_PER_CLIP, emulated, finish, outcome, tables_of
from ..small import write_study
from .conftest import accuracy


def test_the_page_shows_everything_and_escapes_it(page: Path, tables: Tables) -> None:
    text = page.read_text()
    assert "<b>bold" not in text and "&lt;b&gt;bold" in text
    assert "alert(1)" not in text
    names = ("method", "tokens_audio", "eval_snr_db", "accuracy", "accuracy_low", "accuracy_high")
    for name in names:
        assert f'<button type="button">{name}</button>' in text
    assert '<button type="button">bandwidth_hz</button>' not in text  # all the same: in the set-up
    assert "95 % interval over seeds and clips" in text
    assert text.count("device Card, dtype bfloat16") == 1
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


def test_what_is_no_number_is_no_zero_and_has_its_sign(page: Path, tables: Tables) -> None:
    """A token length that a method does not have; an SNR at which nothing is received."""
    text = page.read_text()
    assert '<td data-value="-Infinity" class="number">-</td>' in text  # a reference's tokens
    assert '<td data-value="0.0" class="number">0</td>' in text  # an SNR of 0 dB
    found = Findings(StudyFolder(tables.folder.root).open(), tables, _at_minus_infinity(tables))
    shown = render(found, {}, {})
    assert '<td data-value="-Infinity" class="number">-∞</td>' in shown


def _at_minus_infinity(tables: Tables) -> pd.DataFrame:
    """The results with a realised SNR of which there is no more."""
    results = pd.read_parquet(tables.folder.results).sort_values(list(tables.layout.sort_by))
    return results.assign(realised_snr_db=-math.inf)


@pytest.mark.parametrize("preset", studies.presets())
def test_what_a_study_changes_gives_it_again(preset: str) -> None:
    study = studies.load(preset)
    assert Study(**without_defaults(study)) == study
    assert study.description


_TELEPHONE = """<iframe width="400" height="900" srcdoc="{page}"></iframe><script>
addEventListener("load", () => {{
  const {{ document: inner, Plotly }} = document.querySelector("iframe").contentWindow;
  const labels = [...inner.querySelectorAll(".js-plotly-plot")].map((plot) => {{
    const curve = plot.data.findIndex((trace) => trace.hovertemplate);
    Plotly.Fx.hover(plot, [{{ curveNumber: curve, pointNumber: 0 }}]);
    return plot.querySelector(".hoverlayer").textContent;
  }});
  const drawn = inner.querySelectorAll(".js-plotly-plot > .plot-container .main-svg").length;
  const root = inner.documentElement;
  document.body.dataset.seen = JSON.stringify([drawn, labels, root.clientWidth, root.scrollWidth]);
}});
</script>"""
"""A window as narrow as no browser's own: points at a value of every chart, measures the page."""


def test_the_page_works_in_a_browser(page: Path, tmp_path: Path) -> None:
    """Without a network and on a telephone: every chart is drawn and tells its values, nothing is
    wider than the window, and there is no complaint on the console.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine")
    text = page.read_text()
    file = tmp_path / "telephone.html"
    file.write_text(_TELEPHONE.format(page=html.escape(text)))
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    options += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--window-size=600,1000"]
    options += ["--disable-background-networking", "--dump-dom", file.as_uri()]
    shown = subprocess.run([browser, *options], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in shown.stderr
    (seen,) = re.findall(r'data-seen="(.*?)"', shown.stdout)
    drawn, labels, width, needed = json.loads(html.unescape(seen))
    plots = len(re.findall(r'class="plotly-graph-div', text))
    assert len(labels) == plots >= 4
    assert drawn >= plots
    assert [label for label in labels if not re.search(r": \d", label)] == []
    assert needed <= width <= 400


def test_token_lengths_are_in_the_order_of_their_names(tables: Tables, study: Study) -> None:
    """Whatever the order of each entry; that of charts and tables."""
    tokens = [{"vision": 32, "audio": 4}, {"audio": 16, "vision": 8}]
    own = Study(**{**study.model_dump(), "tokens": tokens})
    shown = render(Findings(own, tables, _at_minus_infinity(tables)), {}, {})
    assert '<th scope="row">tokens (audio+vision)</th><td>4+32, 16+8</td>' in shown


def test_a_diverged_training_is_told_once(
    tables: Tables, study: Study, results: pd.DataFrame
) -> None:
    title = "<h2>Diverged trainings</h2>"
    assert title not in render(Findings(study, tables, results), {}, {})
    cell = results.loc[results["method"] == "aligned", "cell"].iloc[0]
    reason = results["reason"].mask(results["cell"] == cell, "task of phase x is nan at step 3")
    shown = render(Findings(study, tables, results.assign(reason=reason)), {}, {})
    table = shown.partition(title)[2].partition("</table>")[0]
    assert table.count(f">{cell}<") == table.count(">task of phase x is nan at step 3<") == 1


def test_an_untested_claim_adds_no_columns(tables: Tables, study: Study) -> None:
    """Nor is it said to be trained at each SNR, where it is trained at none."""
    claims = [{"better": "aligned", "than": "unaligned"}, {"better": "align", "than": "blind"}]
    own = Study(**{**study.model_dump(), "claims": claims})
    results = _at_minus_infinity(tables)
    said = [_claims(render(Findings(own, tables, rows), {}, {})) for rows in (
        results, results.assign(train_snr_span_db=results["tokens_audio"].where(
            results["tokens_audio"].eq(4) | results["method"].eq("blind")
        )),
    )]  # fmt: skip
    assert "bandwidth_hz" not in said[0] and "eval_snr_db" in said[0]
    assert "train_snr_span_db" not in said[0] and "matched" not in said[0]
    judged, _, untested = said[1].partition("no finished cell")[0].rpartition("<tr>")
    assert judged.count(">matched<") == 2 and "matched" not in untested


def _claims(page: str) -> str:
    """The table of claims."""
    return page.partition("<h2>Claims</h2>")[2].partition("</table>")[0]


def test_the_page_has_claims_of_which_none_was_tested(tmp_path: Path, study: Study) -> None:
    claims = [{"better": "align", "than": "blind"}]
    own = Study(**{**study.model_dump(), "methods": ["aligned"], "claims": claims})
    tables = tables_of(own, StudyFolder(tmp_path))
    *_, page = write_report(Findings(own, tables, finish(own, tables.folder, accuracy)))
    assert "no finished cell of the method &#39;align&#39;" in page.read_text()


def test_the_set_up_has_what_is_not_as_usual(tmp_path: Path, study: Study, page: Path) -> None:
    names = ("deadline (ms)", "access", "power", "computing (GFLOP/s)")
    assert not any(f'<th scope="row">{name}</th>' in page.read_text() for name in names)
    keys = {
        "deadline_ms": [3, None], "link": {"access": "tdma"}, "power_mode": "fixed_power",
        "compute": {"device_gflops": 20}, "claims": [],
    }  # fmt: skip
    own = Study(**{**study.model_dump(), **keys})
    tables = tables_of(own, StudyFolder(tmp_path))
    *_, written = write_report(Findings(own, tables, finish(own, tables.folder, accuracy)))
    texts = ("3, none (late)", "tdma, antennas: 1", "fixed, SNRs are those at 5 MHz", "device 20")
    for name, text in zip(names, texts, strict=True):
        assert f'<th scope="row">{name}</th><td>{text}</td>' in written.read_text()


def test_what_airtime_buys_names_what_a_channel_and_budget_are(
    tmp_path: Path, study: Study
) -> None:
    keys = {
        "bandwidth_hz": [5e6, 2e7], "deadline_ms": [3, 4], "deadline_policy": "fit",
        "methods": ["aligned"], "claims": [], "seeds": [0],
    }  # fmt: skip
    own = Study(**{**study.model_dump(), **keys})
    tables = tables_of(own, StudyFolder(tmp_path))
    *_, page = write_report(Findings(own, tables, finish(own, tables.folder, accuracy)))
    bought = page.read_text().partition("<h2>What airtime buys</h2>")[2].partition("</table>")[0]
    for name in ("bandwidth_hz", "deadline_ms"):
        assert f'<button type="button">{name}</button>' in bought
    late = own.model_copy(update={"deadline_policy": "late"})  # answers are those of any deadline
    shown = render(Findings(late, tables, pd.read_parquet(tables.folder.results)), {}, {})
    bought = shown.partition("<h2>What airtime buys</h2>")[2].partition("</table>")[0]
    assert "bandwidth_hz" in bought and "deadline_ms" not in bought


def test_an_emulation_is_told_with_how_its_users_were_served(
    tables: Tables, study: Study, results: pd.DataFrame
) -> None:
    assert "How users were served" not in render(Findings(study, tables, results), {}, {})
    emulate = {
        "users": 500, "duration_s": 2.5, "questions_per_s": 0.4, "scheduler": "max-sinr",
        "faults": {"outage_sinr_db": -3, "offline_prob": 0.1},
    }  # fmt: skip
    airs = [{"name": "umi", "speed_mps": 1.5}, "awgn"]
    own = Study(**{**study.model_dump(), "emulate": emulate, "airs": airs})
    served = dict.fromkeys(SERVICE_COLUMNS, 0.25) | {"latency_p95_ms": 77.7}
    text = render(Findings(own, tables, results.assign(**served)), {}, {})
    for name, said in {
        "users": "500",
        "duration (s)": "2.5",
        "questions per second of a user": "0.4",
        "scheduler": "max-sinr, users at once: 1",
        "faults": "outage_sinr_db -3, offline_prob 0.1",
        "evaluated at (dB)": "0, 10; umi speed_mps=1.5: by its link budget",
    }.items():
        assert f'<th scope="row">{name}</th><td>{said}</td>' in text
    service = text.partition("<h2>How users were served</h2>")[2].partition("</table>")[0]
    assert "Jain&#39;s fairness" in service and ">77.7<" in service
    for column in SERVICE_COLUMNS:
        assert f'<button type="button">{column}</button>' in service


def test_the_map_of_a_site_has_its_station_where_it_stands(tmp_path: Path) -> None:
    page = _report(_emulated(tmp_path, "munich"))
    assert page.count('"x":[8.5],"y":[21.0]') == 1


def test_pictures_of_users_who_were_replaced_are_removed(tmp_path: Path) -> None:
    tables = _emulated(tmp_path, "umi")
    _report(tables)
    report = tables.folder.report
    before = sorted(file.name for file in report.iterdir())
    for suffix in ("png", "csv"):
        (report / f"users_cell-0123_10dB.{suffix}").write_text("of an earlier study")
    _report(tables)
    assert sorted(file.name for file in report.iterdir()) == before
    assert sum(name.startswith("users_") for name in before) == 2


def _emulated(out: Path, air: str) -> Tables:
    """The tables of an emulation of a user on the map of an air."""
    study = Study(name="s", methods=["aligned"], airs=[air], emulate={"users": 7})
    folder = StudyFolder(out)
    finish(study, folder, accuracy)
    (cell,) = (c for c in Plan(study).known_cells({}) if c.reference is None)
    found = emulated(outcome(cell, *cell.eval_snr_db, 0.6), [9.0] * CLIPS * QUESTIONS_PER_CLIP)
    assert found.emulation is not None
    user = {"user": 0, "device": "text", "realised_sinr_db": 7.0, "accuracy": 0.6, "questions": 120}
    scores = replace(found.emulation, device_rows=[{**user, "x_m": 30.0, "y_m": 40.0}])
    tables, told = tables_of(study, folder), [replace(found, emulation=scores)]
    tables.write_devices(cell, told)
    tables.write_answers(cell, told)
    tables.write_results(cell, told, 1.0)
    return tables


def _report(tables: Tables) -> str:
    """The page of a study, drawn again."""
    study = tables.folder.open()
    results = tables.read_results(Plan(study).known_cells({}))
    *_, page = write_report(Findings(study, tables, results))
    return page.read_text()


def test_the_page_says_what_is_other_than_in_the_preset(
    tables: Tables, results: pd.DataFrame
) -> None:
    own = studies.load("emulate", {"emulate.users": 500})
    assert "Differs from the preset in: emulate.users.0 3000 -&gt; 500." in render(
        Findings(own, tables, results), {}, {}
    )
    for same in (studies.load("emulate"), own.model_copy(update={"description": "mine"})):
        assert "Other than" not in render(Findings(same, tables, results), {}, {})


def test_cells_that_have_not_finished_are_told(
    tmp_path: Path, study: Study, shown: Callable[..., str]
) -> None:
    tables = tables_of(study, StudyFolder(tmp_path))
    finish(study, tables.folder, accuracy)
    page = tables.folder.report / "report.html"
    said = "15 of 18 cells have finished; missing: unaligned on awgn (3 of 6)"
    assert "have finished" not in shown("study", "report", tmp_path)
    assert "have finished" not in page.read_text()
    cells = [cell for cell in Plan(study).known_cells({}) if cell.method == "unaligned"]
    for cell in cells[:3]:
        tables.folder.result(cell.key).unlink()
    assert said in shown("study", "report", tmp_path)
    assert said in page.read_text()


def test_a_study_of_which_nothing_succeeds_has_a_page_with_the_reasons(
    tmp_path: Path, study: Study, shown: Callable[..., str]
) -> None:
    tables = tables_of(study, StudyFolder(tmp_path))
    finish(study, tables.folder, accuracy)
    shown("study", "report", tmp_path)
    for cell in Plan(study).known_cells({}):
        tables.write_failure(cell, "MemoryError: out of memory")
    assert "report/report.html" in shown("study", "report", tmp_path)
    text = (tables.folder.report / "report.html").read_text()
    assert "MemoryError: out of memory" in text and "<h2>Failed cells</h2>" in text
    assert "<h2>Results</h2>" not in text and "<h2>Accuracy by SNR</h2>" not in text
    assert "no finished cell of the method" in text  # of each claim


def test_labels_are_shown_as_they_are(
    tmp_path: Path, study: Study, shown: Callable[..., str]
) -> None:
    """Brackets are no styles, and colons no pictures."""
    method = {"name": "aligned", "label": "aligned [no ban] :+1: [/x]"}
    own = Study(**{**study.model_dump(), "methods": [method, "unaligned"], "claims": []})
    finish(own, StudyFolder(tmp_path), accuracy)
    assert "aligned [no ban] :+1: [/x]" in shown("study", "report", tmp_path)
    assert "[no ban]" in shown("study", "compare", tmp_path, method["label"], "unaligned")
    file = write_study(tmp_path / "a.yaml", methods=[method])
    assert "[/x]" in shown("study", "plan", file)


def test_a_study_of_which_only_references_succeed_says_why_the_rest_failed(
    tmp_path: Path,
    study: Study,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables = tables_of(study, StudyFolder(tmp_path))
    finish(study, tables.folder, accuracy)
    for cell in Plan(study).known_cells({}):
        if cell.reference is None:
            tables.write_failure(cell, "MemoryError: out of memory [/x]")
    monkeypatch.setattr(sys, "argv", ["tokcom", "study", "resume", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 1
    said = " ".join(capsys.readouterr().out.split())
    told = "MemoryError: out of memory [/x]"
    assert said.endswith(f"some cells failed: aligned on awgn: {told}; unaligned on awgn: {told}")
    page = (tables.folder.report / "report.html").read_text()
    assert "<h2>Failed cells</h2>" in page
    assert "What airtime buys" not in page
