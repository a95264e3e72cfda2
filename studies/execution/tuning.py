"""The single Ray Tune run of a study."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import ray
from ray import tune
from ray.tune import Callback, TuneConfig, Tuner
from ray.tune.experiment import Trial

from actors import MAX_RETRIES
from tokcom_core.storage import writing

from ..plan.specs import FeaturesSpec
from ..plan.study import Study
from ..storage.folder import StudyFolder
from ..tables.layout import layout_of
from .cluster import NODE, lack_of_room, telling_lack_of_memory
from .graph import SpecGraph
from .interrupt import Interrupt
from .loggers import SpecLogger
from .progress import SpecProgress
from .searcher import SpecSearcher, SpecStopper
from .trial import REPORT, SpecTrainable

logger = logging.getLogger(__name__)


class TuneRun:
    """Runs the specs of a graph on the machine's (or cluster's) free resources.

    Args:
        study: Study that the specs belong to.
        folder: Folder of their artifacts and tables.
        features: Frozen tokens of the study, which every network reads.
        loggers: What shows the running specs.
    """

    def __init__(
        self,
        study: Study,
        folder: StudyFolder,
        features: list[FeaturesSpec],
        loggers: Sequence[SpecLogger],
    ) -> None:
        self._study = study
        self._folder = folder
        self._features = features
        self._loggers = loggers
        self._devices = len(layout_of(study).devices)

    def run(self, graph: SpecGraph, progress: SpecProgress, interrupt: Interrupt) -> None:
        """Runs every spec that can run; the graph holds the others, with the reasons.

        Raises:
            StorageError: if the disk is full; finished artifacts stay.
            KeyboardInterrupt: for Ctrl-C; finished artifacts stay.
        """
        self._warn_of_lack()
        searcher = SpecSearcher(graph, self._workers, self._resources)
        stopper = SpecStopper(searcher)
        watcher = _Watcher(graph, searcher, progress, interrupt)
        trainable = tune.with_parameters(
            SpecTrainable, study=self._study, folder=self._folder, features=self._features
        )
        # By default only one trial of a search algorithm waits for its worker to start.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self._workers())
        storage_path, filesystem = self._folder.store.place(self._folder.tune)
        tuner = Tuner(
            tune.with_resources(trainable, self._resources),
            tune_config=TuneConfig(
                search_alg=searcher,
                num_samples=-1,
                reuse_actors=True,
                trial_name_creator=_name,
                trial_dirname_creator=_name,
            ),
            run_config=tune.RunConfig(
                storage_path=storage_path,
                storage_filesystem=filesystem,
                verbose=0,
                stop=stopper,
                callbacks=[watcher, *self._loggers],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
            ),
        )
        try:
            with telling_lack_of_memory(), writing(self._folder.tune):
                tuner.fit()
            interrupt.check()  # Tune may have taken it for the end of its run
        finally:
            for own in self._loggers:
                own.close()
        progress.show(graph)
        if stopper.error is not None:
            raise stopper.error

    def _warn_of_lack(self) -> None:
        """Warns of trials that wait because no node is large enough for them."""
        missing = not all(self._folder.has(spec) for spec in self._features)
        for kind in ("", FeaturesSpec.__name__) if missing else ("",):
            needed = self._resources({"type": kind}).required_resources
            if warning := lack_of_room(needed, ray.nodes()):
                logger.warning(warning)
                return

    def _workers(self) -> int:
        """Number of trials that find room at once."""
        needed = self._resources({"type": ""}).required_resources
        there = ray.cluster_resources()
        return max(1, min(int(there.get(name, 0.0) / each) for name, each in needed.items()))

    def _resources(self, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """Resources of one trial: its own process first, then those of its network on one node.

        With every engine, frozen tokens are computed in the trial's own process. If the study makes
        its data in a folder that other nodes do not see, this is on the node of the data, without a
        GPU if that node has none.
        """
        own = self._study.resources
        encodes = config.get("type") == FeaturesSpec.__name__
        first = {"CPU": own.cpu, "GPU": own.gpu}
        others: list[float] = []
        if self._study.engine == "ray" and not encodes:
            first["GPU"] = 0.0
            others = [own.gpu, *[own.device_gpu] * self._devices]
        if encodes and self._study.data.made is not None and not self._folder.store.shared:
            here = NODE + ray.util.get_node_ip_address()
            first[here] = 0.001
            nodes = [node["Resources"] for node in ray.nodes() if here in node["Resources"]]
            if not any("GPU" in resources for resources in nodes):
                first["GPU"] = 0.0
        bundles = [first, *({"GPU": gpu} for gpu in others)]
        needed = [{name: v for name, v in bundle.items() if v} for bundle in bundles]
        return tune.PlacementGroupFactory([b for b in needed if b], strategy="STRICT_PACK")


def _name(trial: Trial) -> str:
    return f"{trial.config['key']}-{trial.trial_id}"


class _Watcher(Callback):  # type: ignore[misc]
    """Reports the states of trials to graph, searcher and progress."""

    def __init__(
        self,
        graph: SpecGraph,
        searcher: SpecSearcher,
        progress: SpecProgress,
        interrupt: Interrupt,
    ) -> None:
        self._graph = graph
        self._searcher = searcher
        self._progress = progress
        self._interrupt = interrupt

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it to restore its own run, which we never do

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._interrupt.check()
        self._progress.show(self._graph)

    def on_trial_start(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._searcher.started(trial.trial_id)

    def on_trial_recover(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._searcher.recovering(trial.trial_id)

    def on_trial_result(
        self,
        iteration: int,
        trials: list[Trial],
        trial: Trial,
        result: dict[str, Any],
        **info: Any,
    ) -> None:
        if (report := result.get(REPORT)) is not None:
            self._progress.moved(trial.config["key"], report["step"] / report["steps"])

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        result = trial.last_result
        if "spec" not in trial.config or "unwritten" in result:
            return
        if result["failure"]:
            self._graph.fail(trial.config["key"], result["failure"])
        else:
            self._graph.succeed(trial.config["key"])

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        if "spec" in trial.config:
            reason = f"its process died: {_last_line(trial)}"
            self._graph.fail(trial.config["key"], reason)


def _last_line(trial: Trial) -> str:
    lines = str(trial.get_error()).strip().splitlines()
    return lines[-1].strip() if lines else "no reason given"
