"""Whole studies through the command: interrupted, resumed, on either engine, failing in part."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from actors import Evaluation, Network, PeerLostError
from studies.execution.run import choose_learning_rates
from studies.execution.stages import Stages
from studies.plan.cells import Plan
from studies.storage.folder import StudyFolder
from studies.tables.columns import CURVES, WALL_CLOCK_COLUMNS

from ..conftest import Disk

COMMAND = [sys.executable, "-m", "studies.cli", "study"]
LIMIT_S = 600


def _write(file: Path, root: Path, **keys: object) -> Path:
    study = {
        "name": "tiny",
        "data": {"folder": str(root)},
        "methods": ["aligned", "unaligned"],
        "airs": ["rayleigh"],
        "eval_snr_db": [0, 10],
        "tokens": {"audio": 4, "vision": 4},
        "models": {"receiver_width": 64},
        "alignment": {"steps": 6, "batch_size": 16},
        "fine_tuning": {
            "steps": 6,
            "floor_steps": 6,
            "batch_size": 8,
            "learning_rates": [0.001, 0.003],
        },
        "evaluation": {"questions": 24},
        **keys,
    }
    file.write_text(yaml.safe_dump(study))
    return file


def _tokcom(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *(str(a) for a in arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def _table(out: Path) -> pd.DataFrame:
    table = pd.read_parquet(out / "results")
    dropped = [*WALL_CLOCK_COLUMNS, "config"]  # the config repeats what the other columns say
    table = table.drop(columns=dropped)
    return table.sort_values(["cell", "eval_snr_db"], ignore_index=True)


@pytest.fixture(scope="module")
def finished(minimusic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an uninterrupted run."""
    out = tmp_path_factory.mktemp("finished")
    shutil.rmtree(out)
    done = _tokcom("run", _write(out.with_suffix(".yaml"), minimusic), "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "report.html" in done.stdout
    assert re.search(r"^alignment: 1 of 1 in \d", done.stdout, re.MULTILINE), done.stdout
    assert re.search(r"^evaluation: 2 of 2 in \d", done.stdout, re.MULTILINE), done.stdout
    return out


def test_every_cell_has_its_rows(finished: Path) -> None:
    table = pd.read_parquet(finished / "results")
    assert table.groupby("method").size().to_dict() == {
        "aligned": 2,
        "unaligned": 2,
        "blind": 1,
        "text-oracle": 1,
    }
    assert set(table["status"]) == {"ok"}
    ours = table[table["method"].isin(["aligned", "unaligned"])]
    assert ours["blind_accuracy"].nunique() == ours["text_oracle_accuracy"].nunique() == 1
    assert (ours["accuracy_low"] <= ours["accuracy"]).all()
    assert (ours["tokens_audio"] == 4).all()
    assert (ours["test_questions"] == 24).all()
    assert (ours["device_gflop"] > 0).all()
    assert ours["uplink_channel_uses"].between(8 * 64, 24 * 64).all()
    oracle = table[table["method"] == "text-oracle"].iloc[0]
    assert oracle["tokens_audio"] == 0
    assert oracle["accuracy"] > 0.8
    answers = pd.read_parquet(finished / "answers")
    right = answers.groupby(["cell", "eval_snr_db"])["exact"].agg(["mean", "size"])
    right = right.join(table.set_index(["cell", "eval_snr_db"]), how="outer")
    assert right["mean"].to_numpy() == pytest.approx(right["accuracy"])
    assert (right["size"] == 24).all()
    assert answers["question_id"].nunique() == 24
    curves = pd.read_parquet(finished / "curves")
    assert list(curves.columns) == CURVES.names
    assert set(curves["stage"]) == {"alignment", "fine-tuning"}
    assert curves.loc[curves["stage"] == "fine-tuning", "task"].notna().all()
    aligned = curves[(curves["method"] == "aligned") & (curves["stage"] == "alignment")]
    assert aligned[["contrastive_audio", "contrastive_vision"]].notna().all(axis=None)
    assert curves.groupby(["cell", "stage"]).size().eq(6).all()
    for name in ("accuracy_by_snr.png", "accuracy_by_overhead.png", "learning_curves.png"):
        assert (finished / "report" / name).read_bytes().startswith(b"\x89PNG")


def test_a_finished_study_runs_nothing_again(finished: Path) -> None:
    before = {f: f.stat().st_mtime_ns for f in (finished / "results").glob("*.parquet")}
    again = _tokcom("resume", finished)
    assert again.returncode == 0, again.stderr
    assert {f: f.stat().st_mtime_ns for f in (finished / "results").glob("*.parquet")} == before
    assert _tokcom("report", finished).returncode == 0


@pytest.mark.parametrize(("how", "after"), [(signal.SIGKILL, "alignment"), (signal.SIGINT, "cell")])
def test_an_interrupted_study_resumes_to_the_same_table(
    finished: Path, minimusic: Path, tmp_path: Path, how: signal.Signals, after: str
) -> None:
    """Killed early, or interrupted late: then all but the cells' rows is there already."""
    out = tmp_path / "out"
    begin = ["run", str(_write(tmp_path / "s.yaml", minimusic)), "--out", str(out)]
    if after == "cell":
        shutil.copytree(finished, out)
        for file in (out / "results").iterdir():
            file.unlink()
        begin = ["resume", str(out)]
    begun = subprocess.Popen(
        [*COMMAND, *begin],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    waited_for = out / ("artifacts" if after == "alignment" else "results")
    deadline = time.monotonic() + LIMIT_S
    while not list(waited_for.glob(f"{after}-*")):
        assert begun.poll() is None, begun.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if how is signal.SIGKILL:
        os.killpg(begun.pid, how)
    else:
        begun.send_signal(how)
    begun.communicate(timeout=LIMIT_S)
    assert begun.returncode == (130 if how is signal.SIGINT else -signal.SIGKILL)
    resumed = _tokcom("resume", out)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    pd.testing.assert_frame_equal(_table(out), _table(finished))
    assert not list(out.rglob(".*.partial"))


@pytest.mark.slow
def test_a_study_may_be_interrupted_at_any_moment(tmp_path: Path) -> None:
    """Killed and stopped at ten random moments, data making included; nothing is lost or twice."""
    own = {"minimusic": {"clips": 60, "seed": 3}}
    study = _write(tmp_path / "s.yaml", tmp_path, data=own)
    whole = tmp_path / "whole"
    assert _tokcom("run", study, "--out", whole).returncode == 0
    moments = random.Random(5)
    out = tmp_path / "out"
    for _ in range(10):
        how = moments.choice([signal.SIGKILL, signal.SIGINT])
        begun = subprocess.Popen(
            [*COMMAND, "run", str(study), "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            begun.wait(timeout=moments.uniform(3.0, 30.0))
        except subprocess.TimeoutExpired:
            if how is signal.SIGKILL:
                os.killpg(begun.pid, how)
            else:
                begun.send_signal(how)
            begun.wait(timeout=LIMIT_S)
    done = _tokcom("run", study, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    pd.testing.assert_frame_equal(_table(out), _table(whole))
    assert not list((out / "artifacts").glob(".*.partial"))


def test_digital_links_and_cells_share_the_table(minimusic: Path, tmp_path: Path) -> None:
    link = {"access": "sdma", "antennas": 4}
    study = _write(
        tmp_path / "s.yaml",
        minimusic,
        methods=["aligned", "digital", "raw-upload"],
        airs=["umi", {"name": "tdl-a", "csi": "estimated", "speed_mps": 3.0}],
        link=link,
        models={"receiver_width": 64, "receiver_input": "symbols+noise"},
        alignment={"steps": 2, "batch_size": 16},
        fine_tuning={"steps": 2, "floor_steps": 2, "batch_size": 8},
    )
    done = _tokcom("run", study, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_parquet(tmp_path / "out" / "results")
    assert set(table["status"]) == {"ok"}
    ours = table[~table["method"].isin(["blind", "text-oracle"])]
    assert sorted(ours.groupby(["method", "air"]).size()) == [1, 1, 1, 2, 2, 2]
    umi = ours[ours["air"] == "umi"]
    assert umi["eval_snr_db"].isna().all()
    assert umi["realised_snr_db"].notna().all()
    by_method = ours[ours["air"] != "umi"].groupby("method")
    uses = by_method["uplink_channel_uses"].mean()
    assert uses["aligned"] < uses["digital"] < uses["raw-upload"]
    bits = by_method["payload_bits"].mean()
    assert bits["aligned"] == 0 < bits["digital"] < bits["raw-upload"]
    assert by_method["ebn0_db"].mean().notna().to_dict() == {
        "aligned": False,
        "digital": True,
        "raw-upload": True,
    }
    assert by_method["device_gflop"].max()["raw-upload"] == 0
    devices = pd.read_parquet(tmp_path / "out" / "devices")
    placed = devices[devices["air"] == "umi"]
    assert placed[["x_m", "path_loss_db", "tx_power_dbm"]].notna().all(axis=None)
    rows = ours.set_index(["cell", "eval_snr_db"])["energy_mj"]
    sums = devices.groupby(["cell", "eval_snr_db"], dropna=False)["energy_mj"].sum()
    for key, energy_mj in rows.items():
        same = [value for other, value in sums.items() if str(other) == str(key)]
        assert same == [pytest.approx(energy_mj)]


def test_the_ray_engine_gives_the_same_table(
    finished: Path, minimusic: Path, tmp_path: Path
) -> None:
    """One method at the learning rate that the finished study chose: the very same cell."""
    expected = _table(finished)
    expected = expected[expected["method"] == "aligned"]
    tuning = {
        "steps": 6,
        "floor_steps": 6,
        "batch_size": 8,
        "learning_rates": [float(expected["learning_rate"].iloc[0])],
    }
    study = _write(
        tmp_path / "s.yaml", minimusic, engine="ray", methods=["aligned"], fine_tuning=tuning
    )
    done = _tokcom("run", study, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    table = _table(tmp_path / "out")
    table = table[table["method"] == "aligned"]
    floors = ["blind_accuracy", "text_oracle_accuracy"]  # their learning rates may differ
    pd.testing.assert_frame_equal(
        table.drop(columns=floors).reset_index(drop=True),
        expected.drop(columns=floors).reset_index(drop=True),
    )


def test_a_cell_that_fails_is_a_row_and_can_be_retried(finished: Path, tmp_path: Path) -> None:
    """A floor, too: what is known of it stands in the rows of all cells above it."""
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    folder = StudyFolder(out)
    table = pd.read_parquet(folder.results)
    broken = table.loc[table["method"].isin(["unaligned", "blind"]), "cell"].unique()
    for cell in broken:
        folder.result(cell).unlink()
    weights = list(folder.artifacts.root.glob("tuning-*/receivers.safetensors"))
    whole = {f: f.read_bytes() for f in weights}
    for file in weights:
        file.write_bytes(b"damaged")
    failed = _tokcom("resume", out)
    assert failed.returncode == 1
    rows = pd.read_parquet(folder.results)
    assert len(rows) == len(table)
    lost = rows["cell"].isin(broken)
    assert (rows.loc[lost, "status"] == "failed").all()
    assert rows.loc[lost, "reason"].str.contains("SafetensorError").all()
    assert rows.loc[~lost, "blind_accuracy"].isna().all()
    assert rows.loc[rows["method"] == "aligned", "text_oracle_accuracy"].notna().all()
    for file, content in whole.items():
        file.write_bytes(content)
    assert _tokcom("resume", out, "--retry-failed").returncode == 0
    pd.testing.assert_frame_equal(_table(out), _table(finished))


@pytest.mark.slow  # test_trial.py has it without a study
def test_a_full_disk_stops_a_study_which_goes_on_when_there_is_room(
    finished: Path, disk: Disk
) -> None:
    """A fine-tuning and its cell are missing; all else stays, and nothing is a failed row."""
    size_kib = sum(f.stat().st_size // 1024 + 8 for f in finished.rglob("*"))
    out = disk(size_kib + 2048) / "out"
    shutil.copytree(finished, out)
    folder = StudyFolder(out)
    plan = Plan(folder.open())
    cells = plan.cells(choose_learning_rates(plan, folder))
    (cell,) = (cell for cell in cells if cell.tuning.method == "unaligned")
    folder.result(cell.key).unlink()
    shutil.rmtree(folder.artifacts.path(cell.tuning))
    filler = out.parent / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - 64 * 1024)  # enough for Tune's own files
    stopped = _tokcom("resume", out)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    (line,) = stopped.stderr.strip().splitlines()
    assert line.startswith(f"tokcom: stopped: {out}")
    assert "No space left on device" in line and "; make room" in line
    assert line.endswith(f"tokcom study resume {out}")
    rows = pd.read_parquet(folder.results)
    assert set(rows["status"]) == {"ok"}
    assert cell.key not in set(rows["cell"])
    filler.unlink()
    resumed = _tokcom("resume", out)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    pd.testing.assert_frame_equal(_table(out), _table(finished))


def test_a_process_that_dies_while_questions_are_answered_costs_a_new_start(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    shutil.copytree(finished, out)
    folder = StudyFolder(out)
    plan = Plan(folder.open())
    cells = plan.cells(choose_learning_rates(plan, folder))
    (cell,) = (cell for cell in cells if cell.tuning.method == "aligned")
    folder.result(cell.key).unlink()
    evaluate, deaths = Network.evaluate, ["killed", "killed again"]

    def dying(network: Network, *arguments: Any) -> Evaluation:
        if deaths:
            raise PeerLostError(deaths.pop())
        return evaluate(network, *arguments)

    monkeypatch.setattr(Network, "evaluate", dying)
    Stages(plan.study, folder, plan.features()).run(cell)
    pd.testing.assert_frame_equal(_table(out), _table(finished))
