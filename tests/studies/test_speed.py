"""``tokcom study speed``: the operations are those of the tables, mistakes are one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from studies.execution.speeds import Speed, Speeds, measure_speeds
from studies.plan.loading import load
from studies.storage.folder import StudyFolder

from .here import encoded, run_here
from .small import small_study


@pytest.fixture(scope="module")
def done(minimusic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished study whose methods send symbols, packets and files."""
    out = tmp_path_factory.mktemp("speed") / "out"
    study = small_study(
        data={"folder": str(minimusic)},
        methods=["aligned", "digital", "text-as-bytes"],
        tokens=[{"audio": 2, "vision": 4}, {"audio": 4, "vision": 6}],
        evaluation={"questions": 8},
    )
    run_here(study, out)
    return out


@pytest.mark.parametrize("method", ["aligned", "digital"])
def test_the_operations_are_those_of_the_tables(done: Path, method: str) -> None:
    found = measure_speeds(StudyFolder(done), method, 8)
    assert (found.method, found.tokens) == (method, {"audio": 4, "vision": 6})
    rows = pd.read_parquet(done / "results").query(f"method == '{method}' and tokens_audio == 4")
    (row,) = rows.to_dict("records")
    assert sum(own.gflop for own in found.devices.values()) == pytest.approx(row["device_gflop"])
    assert found.station.gflop == pytest.approx(row["bs_gflop"])
    assert all(own.seconds > 0 for own in (*found.devices.values(), found.station))


def test_a_study_at_these_speeds_takes_the_time_of_the_slowest_device() -> None:
    devices = {"text": Speed(0, 0.001), "audio": Speed(0.1, 0.05), "vision": Speed(0.4, 0.02)}
    speeds = Speeds("aligned", {}, 8, devices, Speed(2.0, 0.5)).compute
    assert speeds.device_ms(0.4) == pytest.approx(50)
    assert speeds.station_ms(2.0) == pytest.approx(500)
    silent = Speeds("sends files", {}, 8, {"text": Speed(0, 0.001)}, Speed(2.0, 0.5))
    assert silent.compute.device_ms(0.0) == 0


def test_what_it_prints_is_a_key_of_a_study(done: Path, shown: Callable[..., str]) -> None:
    said = shown("study", "speed", done, "--questions", 3)
    assert "aligned, 4 audio, 6 vision tokens; mean of 3 questions" in " ".join(said.split())
    (override,) = re.findall(r'--set "(.*)"', said)
    compute = load(done / "study.yaml", (override,)).compute
    assert compute.device_gflops is not None and compute.station_gflops is not None


def test_mistakes(done: Path, minimusic: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    def said(*arguments: object) -> str:
        return refused("study", "speed", *arguments)

    assert "no study in" in said(tmp_path)
    assert "Invalid value for '--questions'" in said(done, "--questions", 0)
    unknown = said(done, "--method", "other")
    assert unknown.endswith("no method 'other'; there are: aligned, digital, text-as-bytes")
    study = small_study(data={"folder": str(minimusic)}, methods=["raw-upload", "unaligned"])
    _, begun = encoded(study, tmp_path / "begun")
    assert "'raw-upload' sends files" in said(begun.root, "--method", "raw-upload")
    assert "no training is finished" in said(begun.root)
