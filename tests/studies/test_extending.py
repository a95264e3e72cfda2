"""The worked example of docs/extending.md: a task, an encoder and a system from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from studies import load
from studies.plan.study import Study
from tokcom_core.systems.mlms import Mlms

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a user has it, and its study run by the commands that stand there."""
    folder = tmp_path_factory.mktemp("beacons")
    (folder / "beacons.py").write_text("\n".join(_blocks("python")))
    (study,) = _blocks("yaml")
    (folder / "beacons.yaml").write_text(study)
    return folder


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_task_an_encoder_and_a_system_from_outside_reach_a_table(folder: Path) -> None:
    (shell,) = _blocks("bash")
    for line in shell.strip().splitlines():
        program, rest = line.split(" ", 1)
        if program == "python":
            _run(folder, "-c", rest.removeprefix("-c ").strip('"'))
        else:
            shown = _run(folder, "-m", "studies.cli", *rest.split())
            if "plan" in rest:
                assert "imports the code of: beacons" in shown
                assert re.search(r"pretraining +2 cells +1", shown)
                assert re.search(r"adaptation +2 cells +2", shown)
    out = folder / "studies_out" / "beacons"
    table = pd.read_parquet(out / "results")
    assert set(table["air"]) == {"awgn", "rayleigh"}
    assert (table["status"] == "ok").all()
    assert {"tokens_left", "tokens_right", "accuracy_empty", "accuracy_occupied"} <= set(table)
    assert (table["uplink_channel_uses"] == 2 * 4 * 2).all()
    best = table[(table["air"] == "awgn") & (table["eval_snr_db"] == 10)]
    assert (best["accuracy_low"] > best["majority_accuracy"]).all()
    curves = pd.read_parquet(out / "curves")
    assert curves["phase"].unique().tolist() == ["pretraining", "adaptation", "task"]
    detection = curves[curves["phase"] == "pretraining"].groupby("cell")["detection"]
    assert detection.last().lt(detection.first()).all()
    devices = pd.read_parquet(out / "devices")
    assert set(devices["device"]) == {"left", "right"}
    assert set(devices["modality"]) == {"radar"}


def test_a_system_from_outside_has_a_smoke_test(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    study = load(folder / "beacons.yaml", ["scale=smoke"])
    (method,) = study.methods
    assert study.system(method).model_dump()["steps"] == 2


def test_what_a_system_from_outside_goes_without_stays_out_of_its_smoke_test() -> None:
    path = "tokcom_core.systems.mlms:Mlms"
    own = {"system": "custom", "class": path, "label": "mine", "alignment": "none"}
    for scale in ("full", "smoke"):
        study = Study(name="s", scale=scale, methods=[own])
        system = study.system(study.methods[0])
        assert isinstance(system, Mlms)
        assert system.alignment.losses == "none"
    assert system.fine_tuning.steps == 2
