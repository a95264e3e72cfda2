"""Trials: each makes the artifact or the table of one spec, in a worker that serves many."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from queue import SimpleQueue
from typing import Any

import torch
from ray import tune

from actors import hide_unreserved_gpus
from tokcom_core.devices import gpu_is_lost
from tokcom_core.storage import StorageError

from ..errors import reason_of
from ..plan.artifact_spec import Spec
from ..plan.specs import Cell, FeaturesSpec, PhaseSpec, ValidationSpec
from ..plan.study import Study
from ..storage.folder import StudyFolder
from .runner import SpecRunner

logger = logging.getLogger(__name__)

_TYPES: dict[str, type[Spec]] = {
    cls.__name__: cls for cls in (Cell, FeaturesSpec, PhaseSpec, ValidationSpec)
}

_IDLE_S = 0.25
"""Interval at which an idle trial checks whether its worker is needed."""

REPORT = "report"
"""Key of a report of the spec in a trial's result, apart from what Tune adds."""


def spec_of(config: Mapping[str, str]) -> Spec | None:
    """The spec of a trial's config; None for an idle trial."""
    if "spec" not in config:
        return None
    return _TYPES[config["type"]].model_validate_json(config["spec"])


class SpecTrainable(tune.Trainable):  # type: ignore[misc]
    """A trial that runs one spec; workers are reused, so that each imports torch once.

    The spec runs in a thread of its own, and each result of the trial is the spec's next report. An
    error of the spec, or a ``sys.exit`` in it, ends its trial with the reason as a result, not as a
    crash: cells that depend on it become failed rows. If the disk is full, the result says what
    could not be written. An error that costs the worker its GPU is a crash: Tune begins the trial
    again in another worker.
    """

    def setup(
        self,
        config: dict[str, Any],
        study: Study,
        folder: StudyFolder,
        features: list[FeaturesSpec],
    ) -> None:
        hide_unreserved_gpus()
        self._threads = study.resources.threads
        self._runner = SpecRunner(study, folder, features)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._config = new_config
        self._reports: SimpleQueue[dict[str, Any] | Exception] = SimpleQueue()
        self._thread: threading.Thread | None = None
        return True

    def step(self) -> dict[str, Any]:
        if "spec" not in self._config:
            time.sleep(_IDLE_S)
            return {}
        if self._thread is None:
            # Tune kills a worker that it stops early, whatever this thread is doing.
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
        report = self._reports.get()
        if isinstance(report, Exception):
            raise report
        return report

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # a setting of each thread
        try:
            self._reports.put({"done": True, "failure": "", **self._outcome()})
        except RuntimeError as error:
            self._reports.put(error)

    def _outcome(self) -> dict[str, Any]:
        """Runs the spec; returns the error, if there is one.

        Raises:
            RuntimeError: if the GPU is lost.
        """
        try:
            spec = spec_of(self._config)
            assert spec is not None, "an idle trial runs nothing"
            self._runner.run(spec, lambda report: self._reports.put({REPORT: report}))
        except StorageError as error:
            return {"unwritten": (error.errno, str(error.filename), error.strerror)}
        except BaseException as error:  # any other failure, or sys.exit, becomes a row of the table
            logger.exception("failed: %s", self._config["spec"])
            if gpu_is_lost(error):
                raise RuntimeError(reason_of(error)) from error
            return {"failure": reason_of(error)}
        return {}

    def cleanup(self) -> None:
        self._runner.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Does nothing: the artifact is the checkpoint."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Does nothing, see :meth:`save_checkpoint`."""
