"""A trial: what it makes of errors, what it reports, and which GPUs it sees."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

from studies.execution.graph import Milestone, SpecGraph
from studies.execution.reporting import Report, TrainingReporter
from studies.execution.runner import SpecRunner
from studies.execution.searcher import SpecSearcher, SpecStopper
from studies.execution.trial import REPORT, SpecTrainable
from studies.plan.artifact_spec import Spec
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from tests.local_ray import local_ray
from tokcom_core.features import MediaFeatures
from tokcom_core.storage import StorageError


@pytest.fixture
def trial(minimusic: Path, tmp_path: Path) -> SpecTrainable:
    study = Study(name="s", data={"folder": minimusic})
    specs, folder = Plan(study).features(), StudyFolder(tmp_path / "out")
    spec = next(spec for spec in specs if isinstance(spec.features, MediaFeatures))

    class Trial(SpecTrainable):
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config, study, folder, [])

    return Trial({"type": type(spec).__name__, "spec": spec.model_dump_json()})


def test_a_full_disk_ends_the_run_and_is_no_failure(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise StorageError.at(errno.ENOSPC, "/out/a")

    monkeypatch.setattr(SpecRunner, "run", fill)
    graph = SpecGraph(lambda _: False, Milestone([], list))
    result, stopper = trial.step(), SpecStopper(SpecSearcher(graph, lambda: 1, lambda _: None))
    assert result["failure"] == ""
    assert not stopper("1", {"failure": "no clip"})
    assert not stopper.stop_all()
    stopper("2", result)
    assert stopper.stop_all()
    assert stopper.error is not None
    assert (stopper.error.errno, stopper.error.filename) == (errno.ENOSPC, "/out/a")


def test_own_code_that_exits_fails_its_trial(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of the spec would end without a result, and the study wait for ever."""

    def leave(*_: object) -> None:
        sys.exit("no microphone")

    monkeypatch.setattr(SpecRunner, "run", leave)
    outcome = trial._outcome()
    assert outcome["failure"].startswith("SystemExit: no microphone (test_trial.py, line ")
    assert trial.step()["failure"] == outcome["failure"]


def test_a_spec_that_is_no_longer_valid_fails_with_one_line(trial: SpecTrainable) -> None:
    text = trial.config["spec"]
    trial.reset_config({**trial.config, "spec": text.replace('"ast"', '"nose"')})
    failure = trial.step()["failure"]
    assert failure.startswith("features.media.encoder: no encoder 'nose'; take some of ast, vivit")
    assert "pydantic.dev" not in failure


class _Onlooker(SpecTrainable):
    """Says which GPUs its worker may use."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config, Study(name="s"), StudyFolder(config["out"]), [])

    def visible(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_trial_sees_the_gpus_that_it_reserves(tmp_path: Path) -> None:
    """Else 64 trials that reserve none would all take the first GPU."""
    with local_ray(num_gpus=1):
        for gpus, visible in ((0, ""), (1, "0")):
            config = {"key": "idle", "out": str(tmp_path)}
            worker = ray.remote(_Onlooker).options(num_gpus=gpus).remote(config)
            assert ray.get(worker.visible.remote(), timeout=120) == visible


def _accelerator_error(code: int) -> Exception:
    error = torch.AcceleratorError("CUDA error: device-side assert\nCompile with DSA")
    error.error_code = code
    return error


def test_a_worker_that_has_lost_its_gpu_ends(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every later trial of the worker would fail. Memory that has run out is no such error."""

    def lose(_: SpecRunner, spec: Spec, report: Report) -> None:
        raise error

    monkeypatch.setattr(SpecRunner, "run", lose)
    error = _accelerator_error(710)
    with pytest.raises(RuntimeError, match=r"^AcceleratorError: CUDA error: .*[^\n]$"):
        trial.step()
    for error in (_accelerator_error(2), torch.OutOfMemoryError("CUDA out of memory")):
        trial.reset_config(trial.config)
        assert error.__class__.__name__ in trial.step()["failure"]


def test_a_trial_tells_of_its_steps_before_it_ends(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(_: SpecRunner, spec: Spec, report: Report) -> None:
        tell = TrainingReporter(report, steps=60, batch_size=8, losses=["task"])
        for step in range(1, 61):
            tell(step, {"task": 1 / step})

    monkeypatch.setattr(SpecRunner, "run", learn)
    *told, last = [trial.step() for _ in range(4)]
    reports = [result[REPORT] for result in told]
    assert [report["step"] for report in reports] == [25, 50, 60]
    assert all(report["samples_per_s"] > 0 and report["steps"] == 60 for report in reports)
    assert reports[1]["task"] == pytest.approx(sum(1 / step for step in range(26, 51)) / 25)
    assert last == {"done": True, "failure": ""}


def test_the_speed_of_a_resumed_training_counts_its_own_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([0.0, 5.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    reports: list[dict[str, Any]] = []
    tell = TrainingReporter(reports.append, steps=125, batch_size=8, losses=["task"])
    for step in range(101, 126):
        tell(step, {})
    assert [report["samples_per_s"] for report in reports] == [25 * 8 / 5.0]


def test_an_idle_trial_does_nothing_and_its_worker_takes_a_spec(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpecRunner, "run", lambda *_: None)
    spec = trial.config
    trial.reset_config({"key": "idle"})
    assert trial.step() == trial.step() == {}
    trial.reset_config(spec)
    assert trial.step() == {"done": True, "failure": ""}
