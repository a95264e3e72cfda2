"""Runs a study: data, one Ray Tune run, emulations, then tables and figures."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from itertools import product
from pathlib import Path

import ray
from rich.console import Console

from tokcom_core.devices import gpu_is_lost
from tokcom_core.storage import StorageError, writing

from ..errors import reason_of
from ..figures.report import write_report
from ..plan.artifact_spec import Spec
from ..plan.cells import Plan
from ..plan.contenders import Contender
from ..plan.modules import modules_of
from ..plan.specs import Cell
from ..plan.study import Study
from ..storage.folder import StudyFolder
from ..tables.files import Tables
from ..tables.findings import Findings
from ..tables.layout import layout_of
from .cluster import start_ray
from .data import preparing_data
from .finished import choose_learning_rates, remove_outgrown, update_rows
from .graph import Milestone, SpecGraph
from .interrupt import Interrupt
from .loggers import SpecLogger, loggers_of
from .progress import SpecProgress, StudyProgress
from .runner import SpecRunner
from .splits import uploads_files, write_file_bits, write_samples
from .tuning import TuneRun

logger = logging.getLogger(__name__)


def run_study(
    study: Study, out: str | Path, console: Console | None = None, address: str | None = None
) -> Findings:
    """Runs what is missing in the folder ``out``, writes its report, and returns its findings.

    Args:
        study: Study to run.
        out: Folder of the study, or a URI of any file system that pyarrow knows.
        console: Console for progress; None shows nothing.
        address: Address of a Ray cluster, whose nodes share ``out`` if that is a folder; None
            starts Ray on this machine.

    Raises:
        ValueError: if no budget is feasible, for missing data, a logger that cannot begin, a
            cluster that cannot be joined, or a folder with another study or another run.
        StorageError: if the disk is full; finished cells stay, and a resume continues.
    """
    plan = Plan(study)  # refuses invalid studies before anything is written
    folder = StudyFolder(out)
    with folder.alone():
        folder.check(study)
        Tables(folder, layout_of(study)).check_version()
        _run_missing(plan, folder, console, address)
        results = update_rows(plan, folder)
        remove_outgrown(plan, folder, results)
        findings = Findings(study, Tables(folder, layout_of(study)), results)
        with writing(folder.report):
            write_report(findings)
    return findings


def _run_missing(
    plan: Plan, folder: StudyFolder, console: Console | None, address: str | None
) -> None:
    """Begins the study in its folder and runs what is missing, with Ray if there is anything."""
    study, started_ray = plan.study, False
    with StudyProgress(console) as progress, Interrupt() as interrupt:
        try:
            if _is_finished(plan, folder):
                folder.begin(study)
                return
            loggers = loggers_of(study, folder)
            with interrupt.deferred():  # a half-started Ray cannot be shut down
                started_ray = start_ray(study, address, modules_of(study))
            for air, bandwidth_hz in product(study.airs, plan.bandwidths_hz):
                air.prepare(study.link_at(bandwidth_hz))
            folder.begin(study)
            with preparing_data(plan, folder, progress) as data:
                _StudyRun(plan, folder, loggers, data).run(progress, interrupt)
        finally:
            if started_ray:
                ray.shutdown()
            folder.store.remove(folder.tune)


def _is_finished(plan: Plan, folder: StudyFolder) -> bool:
    rates = choose_learning_rates(plan, folder)
    known = len(rates) == len(plan.candidates())
    cells = [*plan.known_cells(rates), *(found.cell for found in plan.infeasible())]
    return known and all(folder.has(cell) for cell in cells)


class _StudyRun:
    """One run of a study, whose specs become known as it goes.

    Args:
        plan: Plan of the study.
        folder: Its folder.
        loggers: What shows the running specs.
        data: Ends when the data are ready.
    """

    def __init__(
        self,
        plan: Plan,
        folder: StudyFolder,
        loggers: Sequence[SpecLogger],
        data: Future[None],
    ) -> None:
        self._study = plan.study
        self._folder = folder
        self._plan = plan
        self._loggers = loggers
        self._data = data
        self._tables = Tables(folder, layout_of(plan.study))
        self._features = plan.features()
        self._graph = SpecGraph(folder.has, Milestone([], self._after_data, due=data.done))

    def run(self, progress: StudyProgress, interrupt: Interrupt) -> None:
        """Runs everything once the data are ready; infeasible and failed cells are rows, too.

        Raises:
            ValueError: if the data cannot be learned, the frozen tokens of all methods failed, or a
                choice of learning rates did.
        """
        graph = self._graph
        for found in self._plan.infeasible():
            if not self._folder.has(found.cell):
                self._tables.write_infeasible(found.cell, found.reason)
        TuneRun(self._study, self._folder, self._features, self._loggers).run(
            graph, SpecProgress(progress), interrupt
        )
        self._data.result()
        if (failed := graph.stopped_by) is not None:
            raise ValueError(f"{failed.kind} failed: {graph.failures[failed.key]}")
        if self._lost and not self._able():
            raise ValueError(next(iter(self._lost.values())))
        cells = self._plan.known_cells(choose_learning_rates(self._plan, self._folder))
        failures = self._emulate(cells, progress)
        for cell in self._to_evaluate(cells):
            reason = failures.get(cell.key) or self._blocked(cell) or "it left no result"
            self._tables.write_failure(cell, reason)
        self._copy_evaluated(cells)
        if unchosen := self._lost.keys() & self._plan.candidates().keys():
            raise ValueError(f"method {min(unchosen)!r}: {self._lost[min(unchosen)]}")

    def _copy_evaluated(self, cells: Sequence[Cell]) -> None:
        """Copies the tables of evaluated cells to those that share their evaluation."""
        evaluated = {cell.evaluation: cell for cell in cells if self._folder.has(cell)}
        for cell in self._waiting(cells):
            self._tables.copy(evaluated[cell.evaluation], cell)

    def _after_data(self) -> list[Milestone]:
        """The frozen tokens; nothing if the data cannot be learned, which ends the run."""
        if self._data.exception():
            return []
        return [Milestone(self._features, self._after_features, despite_failures=True)]

    @cached_property
    def _lost(self) -> dict[str, str]:
        """Why each method or reference whose frozen tokens failed cannot run; known after them."""
        failures = self._graph.failures
        return {
            contender.label: f"frozen tokens of {spec.title} failed: {failures[spec.key]}"
            for spec in self._features
            if spec.key in failures
            for contender in self._plan.contenders
            if self._plan.reads(contender, spec)
        }

    def _able(self) -> list[Contender]:
        """The methods and references whose frozen tokens did not fail; none if all methods' did."""
        able = [own for own in self._plan.contenders if own.label not in self._lost]
        return able if not self._lost or any(own.reference is None for own in able) else []

    def _blocked(self, cell: Cell) -> str | None:
        """Reason why a cell cannot run; None if it can."""
        return self._lost.get(cell.method) or self._graph.blocked(cell)

    def _after_features(self) -> list[Milestone]:
        """Milestones of all methods that can run, at which their learning rates can be chosen."""
        able = self._able()
        if not able:
            return []
        made = [spec for spec in self._features if spec.key not in self._graph.failures]
        write_samples(self._folder, self._study, made)
        if uploads_files(self._study):
            write_file_bits(self._folder, self._study)
        candidates = self._plan.candidates()
        return [
            Milestone(
                candidates.get(contender.label, []), partial(self._after_candidates, contender)
            )
            for contender in able
        ]

    def _after_candidates(self, contender: Contender) -> list[Spec]:
        """The cells of a method; of an emulated cell only its inputs, since it runs afterwards."""
        rates = choose_learning_rates(self._plan, self._folder)
        cells = self._plan.cells_of(contender, rates.get(contender.label))
        return [
            spec
            for cell in self._to_evaluate(cells)
            for spec in ((cell,) if cell.emulate is None else cell.inputs)
        ]

    def _emulate(self, cells: Sequence[Cell], progress: StudyProgress) -> dict[str, str]:
        """Runs emulated cells one after the other: each uses the whole machine or cluster.

        No cell runs after one that has lost the GPU of this process.

        Returns:
            The reason of each failed cell, by key.
        """
        waiting = self._to_evaluate(cells)
        able = [c for c in waiting if c.emulate is not None and not self._blocked(c)]
        runner = SpecRunner(self._study, self._folder, self._features)
        failures: dict[str, str] = {}
        for number, cell in enumerate(able, 1):
            try:
                runner.emulate(cell, progress.watch)
            except StorageError:
                raise
            except (Exception, SystemExit) as error:  # any failure becomes a row of the table
                if isinstance(error, SystemExit) and error.code == signal.SIGTERM:
                    raise  # Ray turns the signal into an exit
                logger.exception("%s failed", cell.key)
                failures[cell.key] = reason_of(error)
                if gpu_is_lost(error):
                    lost = f"not begun, as {cell.key} has lost the GPU: {reason_of(error)}"
                    return failures | {later.key: lost for later in able[number:]}
        return failures

    def _to_evaluate(self, cells: Sequence[Cell]) -> list[Cell]:
        """The first cell of each evaluation that is not done yet."""
        done = {cell.evaluation for cell in cells if self._folder.has(cell)}
        first = {cell.evaluation: cell for cell in reversed(cells)}
        return [cell for name, cell in reversed(first.items()) if name not in done]

    def _waiting(self, cells: Sequence[Cell]) -> list[Cell]:
        return [cell for cell in cells if not self._folder.has(cell)]
