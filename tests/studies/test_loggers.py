"""What Ray's loggers are shown of a study, and that no result depends on them."""

from __future__ import annotations

import logging
import math
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from studies.execution.finished import choose_learning_rates
from studies.execution.logged_run import settings_of
from studies.execution.loggers import SpecLogger, loggers_of
from studies.execution.trial import REPORT
from studies.plan.artifact_spec import Spec
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from tests.local_ray import local_ray

from .small import small_study, write_study


def _events(folder: Path) -> Iterator[Event]:
    """The records of event files: length, checksum, data, checksum."""
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content, at = file.read_bytes(), 0
        while at < len(content):
            (size,) = struct.unpack_from("<Q", content, at)
            yield Event.FromString(content[at + 12 : at + 12 + size])
            at += 12 + size + 4


def _scalars(folder: Path) -> dict[str, dict[int, float]]:
    """Values by name and step."""
    found: dict[str, dict[int, float]] = {}
    for event in _events(folder):
        for value in event.summary.value:
            if value.WhichOneof("value") == "simple_value":
                name = value.tag.removeprefix("ray/tune/")
                found.setdefault(name, {})[event.step] = value.simple_value
    return found


def _hyperparameters(folder: Path) -> dict[str, Any]:
    for event in _events(folder):
        for value in event.summary.value:
            content = HParamsPluginData.FromString(value.metadata.plugin_data.content)
            if content.HasField("session_start_info"):
                known = content.session_start_info.hparams
                return {
                    name: getattr(known[name], known[name].WhichOneof("kind")) for name in known
                }
    return {}


def test_each_training_and_evaluation_of_a_study_is_a_run(finished: Path) -> None:
    """Not its idle trials and frozen tokens; trainings have their own steps, cells accuracies."""
    folder = StudyFolder(finished)
    plan = Plan(folder.open())
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    tried = [spec for specs in plan.candidates().values() for spec in specs]
    ends: list[Spec] = [*cells, *tried]
    phases = [phase for spec in (*cells, *tried) for phase in spec.trained.lineage]
    runs = {run.name: _scalars(run) for run in (folder.logs / "tensorboard").iterdir()}
    assert set(runs) == {spec.key for spec in (*ends, *phases)}
    for phase in phases:
        measured = runs[phase.key]
        assert {*measured} == {*phase.definition.losses, "samples_per_s"}
        assert all([*steps] == [phase.definition.training.steps] for steps in measured.values())
    results = pd.read_parquet(folder.results).set_index("cell")
    for cell in cells:
        accuracy = results.loc[[cell.key]].sort_values("eval_snr_db")["accuracy"]
        assert [*runs[cell.key]["accuracy"].values()] == pytest.approx(accuracy.tolist())
    (cell,) = (c for c in cells if (c.method, c.air_label) == ("aligned", "rayleigh"))
    assert runs[cell.key]["eval_snr_db"] == {1: 0.0, 2: 10.0}
    shown = _hyperparameters(folder.logs / "tensorboard" / cell.key)
    assert shown["method"] == "aligned"
    assert (shown["air"], shown["train_snr_db"], shown["seed"]) == ("rayleigh", 10.0, 0.0)


def test_event_files_of_a_study_on_s3_are_kept_there(
    emulated: Path, bucket: Callable[[str], str]
) -> None:
    folder = StudyFolder(bucket("crowd"))
    place, filesystem = folder.store.place(folder.logs)
    assert filesystem is not None
    files = [*(emulated / "logs").rglob("events.*")]
    assert any("alignment" in str(file) for file in files)
    for file in files:
        there = f"{place}/{file.relative_to(emulated / 'logs')}"
        with filesystem.open_input_stream(there) as kept:
            assert kept.read() == file.read_bytes()


def _trial(spec: Spec) -> Trial:
    config = {"key": spec.key, "spec": spec.model_dump_json(), "type": type(spec).__name__}
    return cast(Trial, SimpleNamespace(trial_id=spec.key, config=config, last_result={}))


def _log(loggers: list[SpecLogger], spec: Spec, **ended: Any) -> None:
    """Shows loggers a trial of two reports, which ends if there is something to end with."""
    trial = _trial(spec)
    for logger in loggers:
        logger.on_trial_start(1, [], trial)
        for step, loss in ((25, 0.5), (50, math.nan)):
            report = {"step": step, "steps": 50, "task": loss, "samples_per_s": 4.0}
            result = {REPORT: report, "time_total_s": 3.0, "config": trial.config}
            logger.on_trial_result(1, [], trial, result)
        if ended:
            trial.last_result = ended
            logger.on_trial_complete(1, [], trial)


def _phases(study: Study) -> list[Spec]:
    return list(Plan(study).known_cells({})[-1].trained.lineage)


def test_settings_are_those_that_tell_runs_apart() -> None:
    study = small_study(train_snr_db={"low": -6, "high": 18})
    reference, *_, cell = Plan(study).known_cells({})
    alignment = settings_of(cell.trained.lineage[0])
    assert alignment["kind"] == "alignment"
    assert alignment["train_snr_db"] == "-6 to 18"
    assert (alignment["tokens_audio"], alignment["seed"]) == (4, 0)
    assert (alignment["learning_rate"], alignment["steps"]) == (2e-3, 4)
    assert alignment["models.receiver_width"] == 32
    assert "fine_tuning.steps" not in alignment
    assert settings_of(cell)["method"] == "aligned"
    assert settings_of(reference)["train_snr_db"] == "inf"


def test_a_logger_that_fails_is_left_out_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(LoggerCallback):  # type: ignore[misc]
        def log_trial_result(self, iteration: int, trial: Trial, result: dict[str, Any]) -> None:
            raise ConnectionError("the server is gone")

    study, folder = small_study(loggers="tensorboard"), StudyFolder(tmp_path)
    spec, _ = _phases(study)
    failing = SpecLogger("failing", Failing(), study.name, folder)
    with caplog.at_level(logging.WARNING):
        _log([failing, *loggers_of(study, folder)], spec, failure="")
    (record,) = caplog.records
    said = "loggers: failing failed and logs nothing more: ConnectionError: the server is gone"
    assert record.getMessage().startswith(f"{said} ({Path(__file__).name}, line")
    assert _scalars(folder.logs / "tensorboard" / spec.key) == {
        "task": {25: 0.5},
        "samples_per_s": {25: 4.0, 50: 4.0},
    }


def test_a_phase_that_is_resumed_goes_on_in_its_run(tmp_path: Path) -> None:
    study, folder = small_study(loggers="tensorboard"), StudyFolder(tmp_path)
    spec, other = _phases(study)
    before = loggers_of(study, folder)
    _log(before, spec)
    for logger in before:
        logger.close()
    _log(loggers_of(study, folder), spec, failure="")
    _log(loggers_of(study, folder), other, failure="")
    assert {run.name for run in (folder.logs / "tensorboard").iterdir()} == {spec.key, other.key}


def test_other_loggers_do_not_make_another_study(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    without, shown = small_study(), small_study(loggers=["tensorboard", {"name": "mlflow"}])
    folder.begin(without)
    folder.begin(shown)
    assert folder.open() == shown
    assert _phases(without) == _phases(shown)
    folder.begin(without)
    assert folder.open().loggers == ()


def test_a_package_that_is_missing_is_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setattr("studies.plan.loggers.find_spec", lambda _: None)
    file, out = write_study(tmp_path / "s.yaml", loggers=["mlflow"]), tmp_path / "out"
    said = refused("study", "run", file, "--out", out)
    assert said == "tokcom: loggers: mlflow is not installed; pip install mlflow"
    assert not out.exists()


def test_mlflow_has_runs_of_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bucket: Callable[[str], str]
) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")  # mlflow-skinny has no database
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study, folder = small_study(loggers="mlflow"), StudyFolder(tmp_path)
    interrupted, finished = _phases(study)
    loggers = loggers_of(study, folder)
    _log(loggers, interrupted)
    _log(loggers, finished, failure="")
    for logger in loggers:
        logger.close()
    client = mlflow.MlflowClient(f"sqlite:///{folder.logs}/mlflow.db")
    experiment = client.get_experiment_by_name(study.name)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    states = {name: run.info.status for name, run in runs.items()}
    assert states == {interrupted.key: "FAILED", finished.key: "FINISHED"}
    run = runs[finished.key]
    history = client.get_metric_history(run.info.run_id, "samples_per_s")
    assert [(value.step, value.value) for value in history] == [(25, 4.0), (50, 4.0)]
    assert set(run.data.metrics) == {"training_iteration", "samples_per_s", "task"}
    assert (run.data.params["kind"], run.data.params["air"]) == ("fine-tuning", "rayleigh")
    with pytest.raises(ValueError, match=r"mlflow, tracking_uri: ...}"):
        loggers_of(study, StudyFolder(bucket("logged")))


@pytest.mark.parametrize("known", [None, "http://127.0.0.1:5000"])
def test_mlflow_leaves_the_environment_as_it_was(
    known: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It notes its server there, where the next study would find it."""

    class Callback(LoggerCallback):
        def __init__(self, *_: object, **__: object) -> None: ...

        def setup(self, *_: object) -> None:
            os.environ["MLFLOW_TRACKING_URI"] = "sqlite:////of/mlflow.db"

    monkeypatch.setitem(
        sys.modules,
        "ray.air.integrations.mlflow",
        cast(ModuleType, SimpleNamespace(MLflowLoggerCallback=Callback)),
    )
    monkeypatch.setattr("studies.plan.loggers.find_spec", lambda _: True)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    if known is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", known)
    loggers_of(small_study(loggers="mlflow"), StudyFolder(tmp_path))
    assert os.environ.get("MLFLOW_TRACKING_URI") == known


def test_wandb_keeps_runs_in_the_studys_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    study = small_study(loggers={"name": "wandb", "mode": "offline"})
    folder = StudyFolder(tmp_path / "out")
    with pytest.raises(ValueError, match=r"loggers: wandb: no API key; .* mode: offline"):
        loggers_of(small_study(loggers="wandb"), folder)
    spec, _ = _phases(study)
    with local_ray(num_cpus=1):
        loggers = loggers_of(study, folder)
        _log(loggers, spec, failure="")
        for logger in loggers:
            logger.on_experiment_end([])
    (kept,) = (folder.logs / "wandb" / spec.key / "wandb").glob("offline-run-*/*.wandb")
    content = kept.read_bytes()
    assert all(text in content for text in (b"samples_per_s", b"rayleigh", spec.key.encode()))
