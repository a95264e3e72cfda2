"""Runs specs inside a trial: one method for each kind of spec."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from statistics import fmean

from actors import PeerLostError, StateLostError, retrying

from ..plan.artifact_spec import Spec
from ..plan.specs import Cell, FeaturesSpec, PhaseSpec, ValidationSpec
from ..plan.study import Study
from ..plan.workload import workload_of
from ..storage.artifacts import CURVES, VALIDATION, Artifacts
from ..storage.folder import StudyFolder
from ..storage.usage import files_of
from ..tables.costs import NetworkSizes
from ..tables.files import Tables
from ..tables.layout import layout_of
from ..tables.outcome import Outcome
from .checkpoints import KeptCheckpoints
from .emulating import CellEmulator, Watch
from .measuring import recording_usage
from .networks import NetworkFactory
from .reporting import Report, TrainingReporter, ignore

_MAX_VALIDATION_BATCH = 128


class SpecRunner:
    """Runs specs of one study in its folder; every worker has its own, with an engine."""

    def __init__(self, study: Study, folder: StudyFolder, features: list[FeaturesSpec]) -> None:
        self._study = study
        self._folder = folder
        self._tables = Tables(folder, layout_of(study))
        self._artifacts: Artifacts = folder.artifacts
        self._networks = NetworkFactory(study, folder, features)
        self._emulator = CellEmulator(self._networks)
        self._engine = study.resources.engine(study.engine)

    def close(self) -> None:
        """Ends the processes of the engine."""
        self._engine.close()

    def run(self, spec: Spec, report: Report = ignore) -> None:
        """Makes the artifact of a spec, or the tables of a cell; its inputs must exist."""
        whole = not isinstance(spec, PhaseSpec) or self._checkpoints(spec).latest() is None
        with self._recording_usage(spec, whole):
            self._make(spec, report)

    def _recording_usage(self, spec: Spec, whole: bool) -> AbstractContextManager[None]:
        work, places = workload_of(spec, self._study), files_of(self._folder, spec)
        return recording_usage(work, self._folder, spec.key, places, whole)

    def _make(self, spec: Spec, report: Report) -> None:
        if isinstance(spec, FeaturesSpec):
            self._encode(spec)
        elif isinstance(spec, PhaseSpec):
            _survive(lambda: self._train(spec, report))
        elif isinstance(spec, ValidationSpec):
            _survive(lambda: self._validate(spec, report))
        elif isinstance(spec, Cell):
            _survive(lambda: self._evaluate(spec, report))
        else:
            raise TypeError(f"no way to run a {type(spec).__name__}")

    def _encode(self, spec: FeaturesSpec) -> None:
        root = self._folder.data(self._study)
        cuda = self._study.torch_device != "cpu"
        device = "auto" if cuda else "cpu"  # the node of the data may have no GPU
        with self._artifacts.write(spec) as partial_folder:
            spec.features.write(partial_folder, spec.task, root, device)

    def _train(self, spec: PhaseSpec, report: Report) -> None:
        """Trains one phase, from the weights of its parent."""
        phase = spec.definition
        with (
            self._artifacts.write(spec) as partial_folder,
            self._networks.network(spec, self._engine) as network,
        ):
            self._networks.load_start(network, spec)
            if spec.crossing is not None:
                network.set_channel(spec.crossing.air, spec.crossing.snr_db)
            checkpoints = self._checkpoints(spec)
            steps = phase.training.steps
            progress = TrainingReporter(report, steps, phase.batch_size, phase.losses)
            losses = network.train(phase, checkpoints, progress)
            network.save(partial_folder)
            self._tables.write_phase_curves(partial_folder / CURVES, phase.name, losses)
        checkpoints.clear()

    def _checkpoints(self, spec: Spec) -> KeptCheckpoints:
        return KeptCheckpoints(self._folder.checkpoints / spec.key, self._folder.store)

    def _validate(self, spec: ValidationSpec, report: Report) -> None:
        system, task = spec.trained.system, spec.trained.task
        with (
            self._artifacts.write(spec) as partial_folder,
            self._networks.network(spec.trained, self._engine, spec.crossing) as network,
        ):
            network.load(self._artifacts.path(spec.trained))
            network.set_channel(spec.crossing.air, spec.crossing.snr_db)
            batch_size = min(_MAX_VALIDATION_BATCH, self._study.evaluation.batch_size)
            scores = network.evaluate(system.served(task), task.validation_split, batch_size)
            measured = {
                "accuracy": fmean(scores.scores),
                "loss": scores.losses[system.validation_loss],
            }
            (partial_folder / VALIDATION).write_text(json.dumps(measured))
        report({"step": 1, "steps": 1, **measured})

    def _evaluate(self, cell: Cell, report: Report) -> None:
        start = time.monotonic()
        asked = self._networks.asked(cell)
        outcomes: list[Outcome] = []
        with self._networks.network(cell.tested, self._engine, cell.crossing) as network:
            network.load(self._artifacts.path(cell.trained))
            sizes = NetworkSizes(
                self._networks.windows(cell, asked),
                network.device_weights(),
                network.hardware(),
            )
            for nominal_db, snr_db in zip(cell.eval_snr_db, cell.eval_air_snr_db, strict=True):
                network.set_channel(cell.crossing.air, snr_db)
                scores = network.evaluate(
                    cell.system.served(cell.task), cell.task.test_split, cell.batch_size, len(asked)
                )
                outcomes.append(Outcome(cell, nominal_db, scores, asked, sizes))
                report(
                    {
                        "step": len(outcomes),
                        "steps": len(cell.eval_snr_db),
                        "eval_snr_db": nominal_db,
                        "accuracy": outcomes[-1].accuracy,
                    }
                )
        self._finish(cell, outcomes, start)

    def emulate(self, cell: Cell, watch: Watch | None = None) -> None:
        """Emulates many users that ask the test questions; resumes from its journals."""
        journals = (self._folder.journal(cell.key, snr_db) for snr_db in cell.eval_snr_db)
        with self._recording_usage(cell, whole=not any(journal.exists() for journal in journals)):
            _survive(lambda: self._emulate(cell, watch))

    def _emulate(self, cell: Cell, watch: Watch | None) -> None:
        start = time.monotonic()
        self._finish(cell, self._emulator.outcomes(cell, watch), start)

    def _finish(self, cell: Cell, outcomes: Sequence[Outcome], start: float) -> None:
        phases = [self._artifacts.path(s) / CURVES for s in cell.trained.lineage]
        self._tables.write_curves(cell, phases)
        self._tables.write_devices(cell, outcomes)
        self._tables.write_answers(cell, outcomes)
        self._tables.write_submissions(cell, outcomes)
        self._tables.write_results(cell, outcomes, time.monotonic() - start)


def _survive(action: Callable[[], None]) -> None:
    """Retries an action whose processes died; it resumes from its checkpoint or journal."""
    retrying(action, "a phase", (PeerLostError, StateLostError))
