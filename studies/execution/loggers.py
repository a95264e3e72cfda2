"""Ray Tune's own loggers, to which the specs of a study are runs that people can read."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import Any

from ray.air.constants import TRAINING_ITERATION
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.logger import LoggerCallback, TBXLoggerCallback

from ..errors import reason_of
from ..plan.loggers import AnyLogger, MlflowConfig, WandbConfig, check_package
from ..plan.specs import Cell, PhaseSpec, ValidationSpec
from ..plan.study import Study
from ..storage.folder import StudyFolder
from .logged_run import LoggedRun, settings_of
from .trial import REPORT, spec_of

logger = logging.getLogger(__name__)

_UPLOAD_TIMEOUT_S = 120
"""Longest wait for uploads at the end of a study."""

_MLFLOW_PLACE = "MLFLOW_TRACKING_URI"
_MLFLOW_RETRIES = "2"
"""Retries of a request to a tracking server; the study waits while they last."""


class SpecLogger(Callback):  # type: ignore[misc]
    """Shows one logger of Ray the trials that train or evaluate, as runs named by their specs.

    What the specs report is logged at their own steps, without what Tune adds. A logger that fails
    logs nothing from then on: no result depends on it.

    Args:
        name: Name of the logger.
        inner: Logger of Ray.
        study: Name of the study.
        folder: Folder of the study; the files of a run go to ``logs/NAME/KEY`` there.
    """

    def __init__(self, name: str, inner: LoggerCallback, study: str, folder: StudyFolder) -> None:
        self._name = name
        self._inner = inner
        self._study = study
        self._folder = folder
        self._files = folder.logs / name
        self._runs: dict[str, LoggedRun] = {}
        self._failed = False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it to restore its own run, which we never do

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._attempt(lambda: self._start(trial))

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        run, report = self._runs.get(trial.trial_id), result.get(REPORT)
        if run is not None and report is not None:
            self._attempt(lambda: self._inner.log_trial_result(iteration, run, _metrics(report)))

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        result = trial.last_result
        self._end(trial.trial_id, failed=bool(result.get("failure")) or "unwritten" in result)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._end(trial.trial_id, failed=True)

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        self._attempt(lambda: self._inner.on_experiment_end(trials))

    def close(self) -> None:
        """Ends the runs that an interruption has left open, and stores the files of all runs."""
        for trial_id in list(self._runs):
            self._end(trial_id, failed=True)
        if self._files.exists():
            self._attempt(lambda: self._folder.store.keep(self._files))

    def _start(self, trial: Trial) -> None:
        spec = spec_of(trial.config)
        if not isinstance(spec, Cell | PhaseSpec | ValidationSpec):
            return
        run = LoggedRun(
            trial_id=f"{spec.key}-{trial.trial_id}",
            name=spec.key,
            config=settings_of(spec),
            folder=self._files / spec.key,
            experiment_dir_name=self._study,
        )
        self._inner.log_trial_start(self._runs.setdefault(trial.trial_id, run))

    def _end(self, trial_id: str, failed: bool) -> None:
        run = self._runs.pop(trial_id, None)
        if run is not None:
            self._attempt(lambda: self._inner.log_trial_end(run, failed=failed))

    def _attempt(self, action: Callable[[], None]) -> None:
        if self._failed:
            return
        try:
            action()
        except Exception as error:  # whatever it is, the study goes on
            self._failed = True
            reason = reason_of(error)
            logger.warning("loggers: %s failed and logs nothing more: %s", self._name, reason)


def loggers_of(study: Study, folder: StudyFolder) -> list[SpecLogger]:
    """The loggers of a study, ready to log.

    Raises:
        ValueError: if a package is missing, or a logger cannot begin.
    """
    for config in study.loggers:
        check_package(config)
    return [
        SpecLogger(config.name, _begun(config, study, folder), study.name, folder)
        for config in study.loggers
    ]


def _metrics(report: dict[str, Any]) -> dict[str, float]:
    """What a spec has measured at its own step, without values that are not finite numbers."""
    measured = {
        name: value
        for name, value in report.items()
        if name not in ("step", "steps") and value is not None and math.isfinite(value)
    }
    return {TRAINING_ITERATION: report["step"], **measured}


def _begun(config: AnyLogger, study: Study, folder: StudyFolder) -> LoggerCallback:
    try:
        if isinstance(config, MlflowConfig):
            return _mlflow(config, study, folder)
        if isinstance(config, WandbConfig):
            return _wandb(config, study)
        return TBXLoggerCallback()
    except Exception as error:
        raise ValueError(f"loggers: {config.name}: {reason_of(error)}") from None


def _mlflow(config: MlflowConfig, study: Study, folder: StudyFolder) -> LoggerCallback:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _MLFLOW_RETRIES)
    known = os.environ.get(_MLFLOW_PLACE)
    place = config.tracking_uri or known
    if not place:
        if not folder.store.shared:
            raise ValueError(
                f"no database fits into {folder.store}; take {{name: mlflow, tracking_uri: ...}}"
            )
        folder.logs.mkdir(parents=True, exist_ok=True)
        place = f"sqlite:///{folder.logs / 'mlflow.db'}"
    callback = MLflowLoggerCallback(place, experiment_name=config.experiment or study.name)
    try:
        callback.setup()
    finally:
        if known is None:  # MLflow sets it, for the next study as well
            os.environ.pop(_MLFLOW_PLACE, None)
        else:
            os.environ[_MLFLOW_PLACE] = known
    return callback


def _wandb(config: WandbConfig, study: Study) -> LoggerCallback:
    from ray.air.integrations.wandb import WandbLoggerCallback

    callback = WandbLoggerCallback(
        config.project or study.name,
        group=study.name,
        upload_timeout=_UPLOAD_TIMEOUT_S,
        **({} if config.mode is None else {"mode": config.mode}),
    )
    if config.mode == "offline":
        return callback
    try:
        callback.setup()
    except ValueError:
        raise ValueError(
            "no API key; run 'wandb login', set WANDB_API_KEY, or take {name: wandb, mode: offline}"
        ) from None
    return callback
