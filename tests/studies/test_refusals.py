"""Studies that a plan refuses before anything runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from channel_models.digital.abstraction import usable_mcs
from channel_models.digital.modem import MCS_COUNT
from studies.plan.cells import Plan
from studies.plan.checks import check_data
from studies.plan.study import Study
from studies.plan.swept import mcs_choices

from .small import planned


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"tokens": {"audio": 51, "vision": 4}}, "tokens.audio 51 is beyond the encoder's 50"),
        ({"tokens": {"audio": 4, "vision": 118}}, "tokens.vision 118 is beyond the encoder's 117"),
        ({"bandwidth_hz": 400e3}, "1 resource blocks for 3 devices"),
        ({"deadline_ms": 0.01, "deadline_policy": "fit"}, "deadline_ms 0.01 is too short"),
        ({"data": {"folder": "/nowhere/at/all"}}, "no data folder /nowhere/at/all"),
    ],
)
def test_impossible_studies_are_refused_before_they_run(
    keys: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Plan(Study(name="s", **keys))


def test_the_mcs_of_a_fidelity_are_those_that_packets_are_made_with() -> None:
    assert tuple(mcs_choices("abstract")) == usable_mcs("cpu")
    assert mcs_choices("link") == range(MCS_COUNT)


@pytest.mark.parametrize(
    ("task", "data", "remedy"),
    [
        ("avqa", {"miniclevr": {}}, "data: {minimusic: {}} or data: {folder: DIR}"),
        ("clevr", {"minimusic": {}}, "data: {miniclevr: {}} or data: {folder: DIR}"),
        ("vqav2", {"miniclevr": {}}, "data: {folder: DIR}"),
        ("sst2", {"minimusic": {}}, "data: {miniclevr: {}} or data: {folder: DIR}"),
    ],
)
def test_a_task_that_a_miniature_world_is_not_about_is_refused(
    task: str, data: dict[str, Any], remedy: str
) -> None:
    (world,) = data
    said = f"data.{world} has nothing of task '{task}'; take {remedy}"
    with pytest.raises(ValueError, match=re.escape(said)):
        planned(task=task, data=data)


def test_every_task_of_a_mixture_has_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the current folder, which some tasks look for theirs in."""
    (tmp_path / "MME_Benchmark_release_version" / "existence").mkdir(parents=True)
    (tmp_path / "MME_Benchmark_release_version" / "existence" / "a.txt").touch()
    monkeypatch.chdir(tmp_path)
    task = {"name": "multitask", "tasks": ["clevr", "vqav2"]}
    with pytest.raises(ValueError, match=r"data\.miniclevr has nothing of task 'vqav2'"):
        planned(task=task, data={"miniclevr": {}})
    check_data(Study(name="s", task={**task, "tasks": ["clevr", "mme"]}, data={"miniclevr": {}}))


def test_airs_that_cannot_be_received_are_refused_at_once() -> None:
    for keys, complaint in (
        ({"airs": ["awgn"], "link": {"access": "sdma", "antennas": 4}}, "tells users apart"),
        ({"airs": ["awgn"], "methods": ["aligned"], "link": {"antennas": 2}}, ""),
        (
            {"airs": [{"name": "rayleigh", "csi": "none"}], "methods": ["digital"]},
            "demodulates with CSI",
        ),
        ({"airs": [{"name": "awgn", "csi": "estimated"}]}, "nothing to estimate"),
    ):
        study = Study(name="s", **keys)
        if not complaint:
            Plan(study)
            continue
        with pytest.raises(ValueError, match=complaint):
            Plan(study)
