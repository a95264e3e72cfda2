"""A search algorithm of Ray Tune that hands out the specs of a study."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from tokcom_core.storage import StorageError

from .graph import SpecGraph

_IDLE = {"key": "idle"}
"""Config of an idle trial."""


class SpecSearcher(Searcher):  # type: ignore[misc]
    """Hands out the specs of a graph, one a trial, until all are done, failed or blocked.

    Tune ends a worker for which no trial waits. While more specs are expected, workers without a
    spec therefore run an idle trial, which ends as soon as a spec needs its worker. A spec that
    reserves other resources cannot take the worker of an idle trial, only its room. That room may
    have to be on one node, so all idle trials end, and none begins until the spec has its worker.

    Args:
        graph: Graph of the specs.
        workers: Returns the number of trials that find room at once.
        resources: Returns what the trial of a config reserves.
    """

    def __init__(
        self,
        graph: SpecGraph,
        workers: Callable[[], int],
        resources: Callable[[dict[str, Any]], object],
    ) -> None:
        super().__init__()
        self._graph = graph
        self._workers = workers
        self._resources = resources
        self._starting: set[str] = set()
        self._unlike: set[str] = set()
        self._idle: set[str] = set()
        self._released = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it to restore its own run, which we never do

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The config of a trial, None while no spec is ready, or ``FINISHED``."""
        self._graph.grow()
        spec = self._graph.take()
        if spec is not None:
            config = {"key": spec.key, "spec": spec.model_dump_json(), "type": type(spec).__name__}
            self._starting.add(trial_id)
            if self._resources(config) != self._resources(_IDLE):
                self._unlike.add(trial_id)
            return config
        if not self._graph.expects_more:
            return str(Searcher.FINISHED)
        if self._needs_room:
            return None
        if len(self._graph.running) + len(self._idle) < self._workers():
            self._idle.add(trial_id)
            return dict(_IDLE)
        return None

    @property
    def _needs_room(self) -> bool:
        """Whether a spec waits for a worker that no idle trial has."""
        return bool(self._starting & self._unlike)

    def started(self, trial_id: str) -> None:
        """Notes that a trial has a worker, perhaps that of an idle trial."""
        self._starting.discard(trial_id)
        self._released = max(0, self._released - 1)

    def recovering(self, trial_id: str) -> None:
        """Notes that the worker of a trial has died, so that it needs another one."""
        if trial_id not in self._idle:
            self._starting.add(trial_id)

    def releases(self, trial_id: str) -> bool:
        """Whether an idle trial should end: its worker is needed, or never will be again."""
        if trial_id not in self._idle:
            return False
        if self._needs_room:
            return True
        if self._graph.expects_more and self._released >= len(self._starting):
            return False
        self._released += 1
        return True

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Forgets an idle trial; callbacks report the end of specs to the graph."""
        self._idle.discard(trial_id)
        self._starting.discard(trial_id)
        self._unlike.discard(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Does nothing: artifacts show which specs are done."""

    def restore(self, checkpoint_path: str) -> None:
        """Does nothing, see :meth:`save`."""


class SpecStopper(tune.Stopper):  # type: ignore[misc]
    """Ends idle trials, and the run once a trial cannot write: no other trial could."""

    def __init__(self, searcher: SpecSearcher) -> None:
        self._searcher = searcher
        self.error: StorageError | None = None

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        if "unwritten" in result:
            self.error = StorageError.at(*result["unwritten"])
        return self._searcher.releases(trial_id)

    def stop_all(self) -> bool:
        return self.error is not None
