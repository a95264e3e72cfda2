"""What a link carries, of what a study has measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import studies
from studies.cli.screen import conditions_table
from studies.figures.report import write_report
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.files import Tables
from studies.tables.findings import Findings

from ..outcomes import emulated, finish, outcome, tables_of
from ..screen import screen_text
from .conftest import accuracy


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
    for bandwidth_hz in (3e6, 7e6):  # computing takes no time, to the last bit
        other = studies.budget(out, bandwidth_hz)
        assert other["latency_ms"].equals(other["airtime_ms"])
    short_ms = float(quarter["airtime_ms"].min())
    in_time = studies.budget(out, 1.25e6, short_ms, 0.0)
    assert len(in_time) and (in_time["airtime_ms"] <= short_ms).all()


def test_an_air_with_a_link_budget_is_no_answer_to_an_snr(
    tmp_path: Path, study: Study, shown: Callable[..., str], refused: Callable[..., str]
) -> None:
    keys = {"airs": ["awgn", "umi"], "seeds": [0]}
    own = Study(**{**study.model_dump(), **keys})
    both, cell = StudyFolder(tmp_path / "both"), StudyFolder(tmp_path / "cell")
    finish(own, both, lambda cell, snr_db: accuracy(cell, 0.0))
    assert set(studies.budget(both.root, 5e6)["air"]) == {"awgn", "umi"}
    assert set(studies.budget(both.root, 5e6, snr_db=10)["air"]) == {"awgn"}
    link = ("budget", both.root, "--bandwidth", 5e6)
    assert "of a link budget: umi" in " ".join(shown(*link, "--snr", 10).split())
    assert "link budget" not in shown(*link)
    finish(own.model_copy(update={"airs": own.airs[1:]}), cell, lambda *_: 0.5)
    said = refused("budget", cell.root, "--bandwidth", 5e6, "--snr", 10)
    assert said.endswith("an air with a link budget, which has its own; leave snr_db out")


def test_the_power_of_a_link_budget_is_thinner_on_a_wider_band(tmp_path: Path) -> None:
    """Two users who share twice the band have as much each as was measured."""
    finish(Study(name="s", methods=["aligned"], airs=["umi"]), StudyFolder(tmp_path), accuracy)
    for narrow in (studies.budget(tmp_path, 4e6), studies.budget(tmp_path, 1e7, users=2)):
        assert len(narrow) == 1
    with pytest.raises(
        ValueError, match=r"SNR on 2e\+07 Hz is lower than on the 5e\+06 .* take 5e\+06 or less"
    ):
        studies.budget(tmp_path, 2e7)
    with pytest.raises(ValueError, match=r"take 1e\+07 or less"):
        studies.budget(tmp_path, 2e7, users=2)


def test_a_fixed_power_is_thinner_on_a_wider_band_unless_the_snr_is_that_received(
    tmp_path: Path,
) -> None:
    study = Study(name="s", methods=["aligned"], eval_snr_db=[0, 10], power_mode="fixed_power")
    finish(study, StudyFolder(tmp_path), accuracy)
    assert set(studies.budget(tmp_path, 5e6)["eval_snr_db"]) == {0.0, 10.0}
    with pytest.raises(
        ValueError, match=r"power_mode is fixed_power, whose SNR on .* or say the SNR"
    ):
        studies.budget(tmp_path, 2e7)
    assert set(studies.budget(tmp_path, 2e7, snr_db=4.0)["eval_snr_db"]) == {0.0}


def test_computing_stays_on_another_link_and_counts_for_the_deadline(
    tmp_path: Path, study: Study
) -> None:
    keys = study.model_dump()
    slow = Study(**{**keys, "compute": {"device_gflops": 2, "station_gflops": 2}, "seeds": [0]})
    finish(slow, StudyFolder(tmp_path), accuracy)
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


def test_another_link_carries_what_was_sent_rather_than_the_longest(tmp_path: Path) -> None:
    """A text of 512 symbols beside 256 of each other device, in 1 ms and 1.6 + 2 x .8 mJ.

    On 48 subcarriers of each device they take 11 and 6 OFDM symbols, on 216 of them 3 and 2; and
    two of pilots. A text of 32 tokens would have been four times as long.
    """
    study = Study(name="s", methods=["aligned"], tokens={"audio": 4, "vision": 4})
    finish(study, StudyFolder(tmp_path), accuracy)
    (measured,) = studies.budget(tmp_path, 5e6).to_dict("records")
    assert (measured["airtime_ms"], measured["energy_mj"]) == pytest.approx((1.0, 3.2))
    (wide,) = studies.budget(tmp_path, 20e6).to_dict("records")
    assert wide["airtime_ms"] == pytest.approx(5 / 13)
    assert wide["energy_mj"] == pytest.approx(1.6 * 5 / 13 + 2 * 0.8 * 4 / 8)
    with pytest.raises(ValueError, match=r"takes 0.3 ms or less .* the shortest takes 0.385 ms"):
        studies.budget(tmp_path, 20e6, 0.3)


def test_what_users_waited_for_each_other_holds_at_their_bandwidth_alone(tmp_path: Path) -> None:
    """One question in ten took 900 ms: in the mean they are in time within 500 ms."""
    study = Study(name="s", methods=["aligned"], emulate={"users": 7}, bandwidth_hz=[5e6])
    folder = StudyFolder(tmp_path)
    finish(study, folder, accuracy)
    (cell,) = (c for c in Plan(study).known_cells({}) if c.reference is None)
    found = outcome(cell, 10.0, 0.6)
    asked = len(found.asked)
    late = emulated(found, [900.0 if i < asked // 10 else 100.0 for i in range(asked)])
    tables_of(study, folder).write_answers(cell, [late])
    tables_of(study, folder).write_results(cell, [late], 1.0)
    for deadline_ms in (None, 900.0):
        (row,) = studies.budget(tmp_path, 5e6, deadline_ms).to_dict("records")
        assert (row["latency_ms"], row["airtime_ms"]) == pytest.approx((180.0, 1.0))
    with pytest.raises(
        ValueError, match=r"500 ms or less .* the shortest takes 180 ms in the mean"
    ):
        studies.budget(tmp_path, 5e6, 500.0)
    with pytest.raises(
        ValueError, match=r"1e\+07 was not emulated.* there are: 5e\+06; emulate it"
    ):
        studies.budget(tmp_path, 1e7)
    with pytest.raises(ValueError, match="users 4: in this study emulated users share the band"):
        studies.budget(tmp_path, 5e6, users=4)
    (folder.answers / f"{cell.key}.parquet").unlink()
    assert len(studies.budget(tmp_path, 5e6)) == 1
    with pytest.raises(
        ValueError, match=r"answers of some emulations were removed.*leave the dead"
    ):
        studies.budget(tmp_path, 5e6, 900.0)


def test_deadlines_that_share_their_answers_count_once(tmp_path: Path, study: Study) -> None:
    """Which of them is met stands on the screen; claims, charts and pairs have one of them."""
    changed = {"deadline_ms": [0.5, 1.0, None], "seeds": [0, 1]}
    own = Study(**{**study.model_dump(), **changed})
    folder = StudyFolder(tmp_path)
    results = finish(own, folder, accuracy)
    claim = studies.judge(tmp_path).query("claim == 'aligned is more accurate than unaligned'")
    assert len(claim) == len(own.eval_snr_db) * len(own.tokens)
    assert len(studies.compare(tmp_path, "aligned", "unaligned")) == len(claim)
    *_, page = write_report(Findings(own, tables_of(own, folder), results))
    chart = pd.read_csv(page.parent / "accuracy_by_snr.csv")
    assert chart["panel"].unique().tolist() == ["awgn"]
    summary = studies.summarise(tmp_path)
    text = screen_text(conditions_table(summary, tables_of(own, folder).layout), width=100)
    printed = [line.split() for line in text.splitlines() if line]
    assert {line[4] for line in printed if line[0] == "blind"} == {"-"}
    words = {tuple(line[-2:]) for line in printed}
    assert {("1", "no"), ("1", "yes"), ("1", "-")} <= words


def test_a_link_has_its_own_deadline(
    tmp_path: Path, study: Study, shown: Callable[..., str]
) -> None:
    """That of the study was for another link."""
    own = Study(**{**study.model_dump(), "deadline_ms": [1.0], "seeds": [0]})
    finish(own, StudyFolder(tmp_path), accuracy)
    slow = studies.budget(tmp_path, 1.25e6)
    assert slow["latency_ms"].max() > 1.0
    assert slow["deadline_ms"].isna().all()
    assert "in time" not in shown("budget", tmp_path, "--bandwidth", 1.25e6)
    asked = studies.budget(tmp_path, 1.25e6, 20.0)
    assert set(asked["deadline_ms"]) == {20.0}
    assert set(asked["meets_deadline"]) == {1.0}


def test_a_study_without_a_finished_method_has_measured_nothing(
    tmp_path: Path, study: Study, refused: Callable[..., str]
) -> None:
    tables = tables_of(study, StudyFolder(tmp_path))
    finish(study, tables.folder, accuracy)
    for cell in Plan(study).known_cells({}):
        if cell.reference is None:
            tables.folder.result(cell.key).unlink()
    for asked in ([], ["--snr", 0], ["--deadline", 5]):
        said = refused("budget", tmp_path, "--bandwidth", 5e6, *asked)
        assert said.startswith("tokcom: no finished cell of a method")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"bandwidth_hz": 5e6, "deadline_ms": 1e-3}, "nothing that was measured takes 0.001 ms"),
        ({"bandwidth_hz": 5e6, "snr_db": -5}, "snr_db -5 is below all evaluated ones, from 0 on"),
        (
            {"bandwidth_hz": 5e6, "users": 40},
            r"5e\+06 Hz is too little for 3 devices of each of 40 users; take 4.32e\+07 or more",
        ),
        ({"bandwidth_hz": 5e6, "users": 0}, "users 0 should be at least 1"),
        ({"bandwidth_hz": 5e6, "deadline_ms": -1}, "deadline_ms -1 should be positive"),
        ({"bandwidth_hz": -5e6}, r"bandwidth_hz -5e\+06 should be positive"),
        ({"bandwidth_hz": float("inf")}, "should be positive and finite"),
        ({"bandwidth_hz": 5e6, "snr_db": float("nan")}, "snr_db nan should be a number"),
        ({"bandwidth_hz": 10}, "a bandwidth of 10 Hz is too little for 3 devices; take 1.08e\\+06"),
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
    assert "audio+vision tokens" in said
    assert refused(*link, "--deadline", 0.001).startswith("tokcom: nothing that was measured")
