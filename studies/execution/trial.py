"""Runs the specs of one stage as one Ray Tune run over its distinct keys."""

from __future__ import annotations

import logging
import os
import socket
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import ray
import torch
from ray import tune
from ray.exceptions import RayError
from ray.tune import Callback, TuneConfig, Tuner
from ray.tune.experiment import Trial

from tokcom_core.storage import StorageError, writing

from ..plan.specs import MEDIA, AlignmentSpec, Cell, FeaturesSpec, TuningSpec, ValidationSpec
from ..plan.study import Study
from ..storage.artifacts import Spec
from ..storage.folder import StudyFolder
from .reasons import reason_of
from .stages import Stages

logger = logging.getLogger(__name__)

_KINDS: dict[str, type[Spec]] = {
    cls.__name__: cls for cls in (AlignmentSpec, Cell, FeaturesSpec, TuningSpec, ValidationSpec)
}

_TUNE_SETTINGS = {
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Ctrl-C is ours: Tune would end its run as if finished
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the tables are ours, too
    "RAY_AIR_NEW_OUTPUT": "0",
}

_MAX_RETRIES = 5
"""How often a trial whose process or node has died is begun again."""

_NO_CLUSTER = "no Ray cluster at {!r}; 'ray start --head' makes one"
_NO_TOKEN = (
    "the Ray cluster at {!r} asks for another token; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN "
    "to its own (docs/cluster.md)"
)
_CONNECT_TIMEOUT_S = 10.0

Progress = Callable[[Spec], None]


class StageTrainable(tune.Trainable):  # type: ignore[misc]
    """One trial is one spec; workers are reused, so torch is imported once in each.

    A spec's own error ends its trial with the reason as a result, not as a crash: whoever depends
    on it becomes a failed row. Where the disk is full, the result says what could not be written.
    """

    def setup(self, config: dict[str, Any]) -> None:
        self._load(config)
        torch.set_num_threads(self._study.resources.threads)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._load(new_config)
        return True

    def _load(self, config: dict[str, Any]) -> None:
        self._job: tuple[str, str] = config["job"]
        self._study: Study = config["study"]
        self._stages = Stages(self._study, config["folder"], config["features"])

    def step(self) -> dict[str, Any]:
        kind, text = self._job
        try:
            self._stages.run(_KINDS[kind].model_validate_json(text))
        except StorageError as error:
            unwritten = (error.errno, str(error.filename), error.strerror)
            return {"done": True, "failure": "", "unwritten": unwritten}
        except Exception as error:  # any failure becomes a row of the table
            logger.exception("%s failed: %s", kind, text)
            return {"done": True, "failure": reason_of(error)}
        return {"done": True, "failure": ""}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: the artifact is the checkpoint."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing to load."""


class _Watcher(Callback):  # type: ignore[misc]
    """Tells the driver what ends how; Tune pickles it with its own state, which stays unused."""

    def __init__(self, specs: dict[str, Spec], progress: Progress) -> None:
        self._specs = specs
        self._progress = progress
        self.failures: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        spec = self._specs[trial.config["job"][1]]
        reason = trial.last_result.get("failure", "")
        if reason:
            self.failures[spec.key] = reason
        self._progress(spec)

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        spec = self._specs[trial.config["job"][1]]
        self.failures[spec.key] = f"its process died: {_last_line(trial)}"
        self._progress(spec)


class _StopWhenFull(tune.Stopper):  # type: ignore[misc]
    """Ends the run once a trial cannot write: no other would fare better, and none has failed."""

    def __init__(self) -> None:
        self.error: StorageError | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "unwritten" in result:
            self.error = StorageError.at(*result["unwritten"])
        return False

    def stop_all(self) -> bool:
        return self.error is not None


def _last_line(trial: Trial) -> str:
    lines = str(trial.get_error()).strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"


class TrialRunner:
    """Runs specs on the machine's (or cluster's) free resources."""

    def __init__(self, study: Study, folder: StudyFolder, features: list[FeaturesSpec]) -> None:
        self._study = study
        self._folder = folder
        self._features = features

    def run(self, specs: Sequence[Spec], progress: Progress) -> dict[str, str]:
        """Runs every spec; returns the reasons of those that failed, by key.

        Raises:
            StorageError: where the disk is full; what is finished stays.
        """
        if not specs:
            return {}
        jobs = {spec.model_dump_json(): spec for spec in specs}
        watcher, stopper = _Watcher(jobs, progress), _StopWhenFull()
        resources = self._resources(specs)
        storage_path, filesystem = self._folder.store.place(self._folder.tune)
        tuner = Tuner(
            tune.with_resources(StageTrainable, resources),
            param_space={
                "job": tune.grid_search([(type(s).__name__, text) for text, s in jobs.items()]),
                "study": self._study,
                "folder": self._folder,
                "features": self._features,
            },
            tune_config=TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=storage_path,
                storage_filesystem=filesystem,
                verbose=0,
                stop=stopper,
                callbacks=[watcher],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=_MAX_RETRIES),
            ),
        )
        with writing(self._folder.tune):
            tuner.fit()
        if stopper.error is not None:
            raise stopper.error
        return watcher.failures

    def _resources(self, specs: Sequence[Spec]) -> tune.PlacementGroupFactory:
        """Of one trial: its own process first, then those of its network, kept together.

        Frozen tokens are made in the trial's own process, whatever the engine.
        """
        own = self._study.resources
        if self._study.engine == "inline" or isinstance(specs[0], FeaturesSpec):
            whole = {"CPU": own.cpu, "GPU": own.gpu}
            return tune.PlacementGroupFactory([{**whole, **self._place(specs[0])}])
        gpus = [own.gpu, *[own.device_gpu] * (1 + len(MEDIA))]
        shared = [{"GPU": gpu} for gpu in gpus if gpu]
        return tune.PlacementGroupFactory([{"CPU": own.cpu}, *shared], strategy="STRICT_PACK")

    def _place(self, spec: Spec) -> dict[str, float]:
        """Clips lie where this process is, unless all nodes share the study's folder."""
        if self._folder.store.shared or not isinstance(spec, FeaturesSpec):
            return {}
        return {f"node:{ray.util.get_node_ip_address()}": 0.001}


def start_ray(study: Study, address: str | None) -> bool:
    """Starts Ray on this machine or joins a cluster, unless it runs; returns whether it did.

    Raises:
        ValueError: if there is no cluster at the address, it asks for another token, or this
            machine has fewer GPUs than a trial takes.
    """
    if ray.is_initialized():
        return False
    os.environ.update(_TUNE_SETTINGS)
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    cpus = max(os.cpu_count() or 1, int(study.resources.cpu + 0.999))
    address = address or os.environ.get("RAY_ADDRESS", "local")
    own = {"include_dashboard": False, "num_cpus": cpus} if address == "local" else {}
    _check_reachable(address)
    try:
        with nullcontext() if own else _quiet():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RayError) as error:
        # Ray tries for 20 s, and keeps what it was told in the text of the cause alone.
        refused = "AuthenticationError" in f"{error!r} {error.__cause__}"
        said = _NO_TOKEN if refused else _NO_CLUSTER
        raise ValueError(said.format(address)) from None
    if own:  # a cluster may start nodes that have them
        _check_gpus(study)
    return True


def _check_gpus(study: Study) -> None:
    asked, there = study.resources.gpu, ray.cluster_resources().get("GPU", 0.0)
    if asked > there:
        ray.shutdown()
        raise ValueError(
            f"resources.gpu {asked:g}, but this machine has {there:g} GPUs; take resources.gpu: 0, "
            "or --address of a cluster that has"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray's warnings of each attempt to connect, which it writes past Python's streams."""
    sys.stderr.flush()
    kept, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _check_reachable(address: str) -> None:
    """Raises ValueError where nobody listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host:
        return
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, ValueError):
        raise ValueError(_NO_CLUSTER.format(address)) from None
