"""``tokcom emulate``: its tables add up, and a killed driver goes on where it was."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from studies import compare
from studies.storage.folder import StudyFolder
from studies.tables.columns import WALL_CLOCK_COLUMNS
from studies.tables.layout import layout_of

from .conftest import LIMIT_S


def _tables(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    results, devices = (
        pd.read_parquet(out / name).sort_values(list(keys), ignore_index=True)
        for name, keys in (("results", ["method"]), ("devices", ["method", "user", "device"]))
    )
    return results.drop(columns=[*WALL_CLOCK_COLUMNS]), devices


def test_the_accounts_of_devices_and_network_agree(emulated: Path) -> None:
    results, devices = _tables(emulated)
    layout = layout_of(StudyFolder(emulated).open())
    assert set(results.columns) == set(layout.results.names) - set(WALL_CLOCK_COLUMNS)
    assert list(devices.columns) == layout.devices_table.names
    network = results[results["method"] == "aligned"].iloc[0]
    own = devices[devices["method"] == "aligned"]
    assert network["users"] == 40
    assert network["tokens_vision"] == network["tokens_audio"] == 4
    assert own["user"].nunique() <= 40
    for column in ("uplink_channel_uses", "energy_mj"):
        of_devices = float((own[column] * own["questions"]).sum())
        assert of_devices == pytest.approx(network[column] * network["test_questions"])
    per_user = own.drop_duplicates("user")
    assert per_user["questions"].sum() == network["test_questions"]
    right = float((per_user["accuracy"] * per_user["questions"]).sum())
    assert right == pytest.approx(network["accuracy"] * network["test_questions"])
    answers = pd.read_parquet(emulated / "answers")
    asked = answers[answers["method"] == "aligned"]
    assert asked["exact"].mean() == pytest.approx(network["accuracy"])
    by_user = asked.groupby("user")["exact"]
    counted = pd.DataFrame({"questions": by_user.size(), "accuracy": by_user.mean()})
    known = per_user.set_index("user").sort_index()[["questions", "accuracy"]]
    assert_frame_equal(counted.loc[known.index], known)
    assert len(asked) == network["test_questions"]
    assert network["accuracy"] <= network["answered_fraction"] <= 1
    assert 1 <= network["transmissions"] <= 2
    assert 0 < network["latency_p50_ms"] <= network["latency_p95_ms"] <= network["latency_p99_ms"]
    assert network["latency_ms"] <= network["latency_p99_ms"]
    assert 0 < network["fairness"] <= 1
    assert network["lost_outage_fraction"] == pytest.approx(network["erased_fraction"])
    assert network[["lost_deadline_fraction", "lost_straggler_fraction"]].eq(0).all()
    missing = own[(own["device"] == "vision") & (own["uplink_channel_uses"] == 0)]
    assert 0 < len(missing) < own["user"].nunique()
    (picture,) = (emulated / "report").glob("users_*.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = pd.read_csv(picture.with_suffix(".csv"))
    assert set(shown["user"]) <= set(own["user"])
    assert picture.stem in (emulated / "report" / "report.html").read_text()


def test_a_reference_answers_the_questions_of_all_users(emulated: Path) -> None:
    """It has one user, who is asked every question once; others may ask one again, which counts."""
    (found,) = compare(emulated, "aligned", "blind").itertuples()
    answers = pd.read_parquet(emulated / "answers").astype({"right": float})
    ours, blind = (answers[answers["method"] == name] for name in ("aligned", "blind"))
    assert ours.duplicated(["user", "sample_id"]).any()
    assert found.questions == len(ours)
    assert found.accuracy_first == pytest.approx(ours["right"].mean())
    known = blind.set_index("sample_id")["right"]
    assert found.accuracy_second == pytest.approx(ours["sample_id"].map(known).mean())


def test_a_killed_driver_goes_on_to_the_same_tables(emulated: Path, tmp_path: Path) -> None:
    """SIGKILL after the second batch; what had been answered is not answered again."""
    out = tmp_path / "killed"
    shutil.copytree(emulated, out)
    (journal,) = (out / "journals").iterdir()
    (cell,) = (f for f in (out / "results").iterdir() if f.stem == journal.name)
    cell.unlink()
    for file in sorted(journal.iterdir())[1:]:
        file.unlink()
    resume = [sys.executable, "-m", "studies.cli", "study", "resume", str(out)]
    begun = subprocess.Popen(resume, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    limit = time.monotonic() + LIMIT_S
    while len(list(journal.iterdir())) < 2 and begun.poll() is None:
        assert time.monotonic() < limit
        time.sleep(0.02)
    begun.send_signal(signal.SIGKILL)
    begun.wait(timeout=60)
    kept = {f: f.stat().st_mtime_ns for f in sorted(journal.iterdir())[:2]}
    done = subprocess.run(resume, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    assert {f: f.stat().st_mtime_ns for f in kept} == kept
    for got, wanted in zip(_tables(out), _tables(emulated), strict=True):
        assert_frame_equal(got, wanted)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        (["--users", "0"], "emulate.users"),
        (["--scheduler", "lucky"], "'lucky' is not one of 'round-robin', "),
        (["--air", "nowhere"], "no air 'nowhere'"),
        (["--set", "methods=[digital]"], "sends packets"),
        (["--set", "airs=[{name: rayleigh, digital: {bits: 8}}]"], "takes airs without digital"),
        (
            ["--set", "emulate.users_at_once=20", "--set", "emulate.batch_size=20"],
            "leaves 250000 Hz to each user",
        ),
        (
            ["--set", "emulate.users_at_once=20"],
            "batch_size 8 has no room for the 20 users of one interval",
        ),
        (["--set", "emulate.faults.luck=1"], "emulate.faults.luck"),
        (["--set", "emulate.missing_prob.visoin=1"], "no method has a device 'visoin'; take "),
        (["--set", "emulate.faults.pool_crash_prob=0.1"], "take engine: ray"),
        (["--set", "federation.users=3"], "federation.users 3 and emulate.users 1000"),
        (["--users", "1", "--rate", "0.001"], "emulate: nobody asks a question; take more users"),
        (["--out", "s4://bucket/study"], "take a folder or a URI such as s3://BUCKET/STUDY"),
        (["--address", "127.0.0.1:1"], "no Ray cluster at '127.0.0.1:1'"),
    ],
)
def test_what_cannot_be_is_one_line(
    crowd_file: Path,
    tmp_path: Path,
    refused: Callable[..., str],
    keys: list[str],
    complaint: str,
) -> None:
    assert complaint in refused("emulate", crowd_file, "--out", tmp_path / "out", *keys)
