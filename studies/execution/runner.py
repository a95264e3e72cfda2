"""Runs specs inside a trial: one method for each kind of spec."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean

from actors import (
    DeviceConfig,
    Emulation,
    EmulationSetup,
    EmulationState,
    Network,
    PeerLostError,
    StateLostError,
    StationConfig,
    retrying,
    share_of,
)
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.features import AnyFeatures
from tokcom_core.systems import devices_of

from ..plan.budgets import served_streams
from ..plan.cells import features_of
from ..plan.spec import Spec
from ..plan.specs import Cell, Crossing, FeaturesSpec, PhaseSpec, ValidationSpec, streams_of
from ..plan.study import Study
from ..plan.workload import workload_of
from ..storage.artifacts import Artifacts
from ..storage.folder import StudyFolder
from ..storage.usage import files_of
from ..tables.costs import NetworkSizes
from ..tables.emulation import emulated_outcome
from ..tables.files import Tables
from ..tables.layout import layout_of
from ..tables.outcome import Outcome
from .checkpoints import KeptCheckpoints
from .measuring import measured
from .reporting import Report, TrainingReporter, ignore

_VALIDATION_BATCH = 128

Watch = Callable[[Emulation, EmulationState], None]
"""Called after every batch of an emulation."""


class SpecRunner:
    """Runs specs of one study in its folder; every worker has its own, with an engine."""

    def __init__(self, study: Study, folder: StudyFolder, features: list[FeaturesSpec]) -> None:
        self._study = study
        self._folder = folder
        self._tables = Tables(folder, layout_of(study))
        self._artifacts: Artifacts = folder.artifacts
        self._features = features
        self._engine = study.resources.engine(study.engine)

    def close(self) -> None:
        """Ends the processes of the engine."""
        self._engine.close()

    def run(self, spec: Spec, report: Report = ignore) -> None:
        """Makes the artifact of a spec, or the table of a cell; its inputs exist."""
        whole = not isinstance(spec, PhaseSpec) or self._checkpoints(spec).latest() is None
        with self._measured(spec, whole):
            self._make(spec, report)

    def _measured(self, spec: Spec, whole: bool) -> AbstractContextManager[None]:
        work, places = workload_of(spec, self._study), files_of(self._folder, spec)
        return measured(work, self._folder, spec.key, places, whole)

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
        with self._artifacts.write(spec) as partial_folder:
            spec.features.write(partial_folder, spec.task, root, self._study.device)

    def _train(self, spec: PhaseSpec, report: Report) -> None:
        """Trains one phase, from the weights of its parent."""
        phase = spec.definition
        with self._artifacts.write(spec) as partial_folder, self._network(spec) as network:
            if spec.parent is not None:
                network.load(self._artifacts.path(spec.parent), _senders(spec.parent))
            if spec.crossing is not None:
                network.set_channel(spec.crossing.air, spec.crossing.snr_db)
            checkpoints = self._checkpoints(spec)
            progress = TrainingReporter(report, phase.training.steps, phase.batch_size)
            losses = network.train(phase, checkpoints, progress)
            network.save(partial_folder)
            self._tables.write_phase_curves(partial_folder / "curves.parquet", phase.name, losses)
        checkpoints.clear()

    def _checkpoints(self, spec: Spec) -> KeptCheckpoints:
        return KeptCheckpoints(self._folder.root / "checkpoints" / spec.key, self._folder.store)

    def _validate(self, spec: ValidationSpec, report: Report) -> None:
        system, task = spec.trained.system, spec.trained.task
        with (
            self._artifacts.write(spec) as partial_folder,
            self._network(spec.trained, spec.crossing) as network,
        ):
            network.load(self._artifacts.path(spec.trained))
            network.set_channel(spec.crossing.air, spec.crossing.snr_db)
            scores = network.evaluate(system.served(task), task.validation_split, _VALIDATION_BATCH)
            measured = {
                "accuracy": fmean(scores.scores),
                "loss": scores.losses[system.validation_loss],
            }
            (partial_folder / "validation.json").write_text(json.dumps(measured))
        report({"step": 1, "steps": 1, **measured})

    def _evaluate(self, cell: Cell, report: Report) -> None:
        start = time.monotonic()
        asked = self._asked(cell)
        outcomes: list[Outcome] = []
        with self._network(cell.tested, cell.crossing) as network:
            network.load(self._artifacts.path(cell.trained))
            sizes = NetworkSizes(
                self._windows(cell, asked), network.device_weights(), network.parameter_counts()
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
        with self._measured(cell, whole=not any(journal.exists() for journal in journals)):
            _survive(lambda: self._emulate(cell, watch))

    def _emulate(self, cell: Cell, watch: Watch | None) -> None:
        assert cell.emulate is not None
        start = time.monotonic()
        test = self.samples(cell.task.test_split)
        windows = self._windows(cell, self._asked(cell))
        outcomes: list[Outcome] = []
        for nominal_db, snr_db in zip(cell.eval_snr_db, cell.eval_air_snr_db, strict=True):
            journal = self._folder.journal(cell.key, nominal_db)
            setup = self.setup(cell, snr_db)
            with (
                self._study.resources.engine(
                    self._study.engine, emulates=True, prepare=self._fetches(cell)
                ) as engine,
                Emulation(
                    cell.emulate, setup, journal, engine, self._folder.store.keep
                ) as emulation,
            ):
                emulation.run(watch)
                outcomes.append(emulated_outcome(cell, nominal_db, emulation, test, windows))
        self._finish(cell, outcomes, start)

    def _fetches(self, cell: Cell) -> Callable[[], None]:
        """A function that fetches a cell's artifacts to the node of each process."""
        specs: tuple[Spec, ...] = (cell.trained, *self._features)
        return partial(_fetch, self._folder, specs, self._study.task.splits)

    def setup(self, cell: Cell, snr_db: float) -> EmulationSetup:
        """Setup of a cell's emulation."""
        devices, station = self._parts(cell.tested, cell.crossing)
        return EmulationSetup(
            devices=tuple(devices),
            station=station,
            streams=served_streams(cell.system, cell.task, cell.tested.tokens),
            trained=self._artifacts.path(cell.trained),
            air=cell.crossing.air,
            snr_db=snr_db,
            split=cell.task.test_split,
            samples=len(self._asked(cell)),
            seed=cell.seed,
        )

    def _asked(self, cell: Cell) -> Samples:
        """The test samples that a cell asks."""
        test = self.samples(cell.task.test_split)
        return test.take(range(min(len(test), cell.questions or len(test))))

    def _windows(self, cell: Cell, asked: Samples) -> dict[str, dict[str, float]]:
        """Mean number of the encoders' windows in the test media, by device and feature name."""
        found: dict[str, dict[str, float]] = {}
        wanted = features_of(cell.system, cell.task, cell.tested.tokens)
        for (device, name), every in wanted.items():
            (own,) = (f for f in every if cell.task.test_split in f.splits)
            folder = self._artifacts.path(self._stored(own))
            found.setdefault(device, {})[name] = own.windows(folder, asked.media_id)
        return found

    def _finish(self, cell: Cell, outcomes: Sequence[Outcome], start: float) -> None:
        phases = [self._artifacts.path(s) / "curves.parquet" for s in cell.trained.lineage]
        self._tables.write_curves(cell, phases)
        self._tables.write_devices(cell, outcomes)
        self._tables.write_answers(cell, outcomes)
        self._tables.write_submissions(cell, outcomes)
        self._tables.write_results(cell, outcomes, time.monotonic() - start)

    def samples(self, split: str) -> Samples:
        """The samples of a split that could be read."""
        return read_samples(self._folder.samples(split))

    def _network(self, spec: PhaseSpec, crossing: Crossing | None = None) -> Network:
        """A network for a phase, freshly initialised from the phase's seed.

        Args:
            spec: Phase to train or to evaluate.
            crossing: Crossing of the test streams; that of the phase by default.
        """
        devices, station = self._parts(spec, crossing)
        population = None if spec.crossing is None else spec.crossing.population
        if population is not None:
            share = share_of(station.link, population.users_at_once, len(devices))
            station = replace(station, link=share)
        sizes = {split: len(self.samples(split)) for split in spec.task.splits}
        return Network(devices, station, sizes, self._engine, population)

    def _parts(
        self, spec: PhaseSpec, crossing: Crossing | None
    ) -> tuple[list[DeviceConfig], StationConfig]:
        crossing = crossing or spec.crossing
        system, task = spec.system, spec.task
        samples = {split: self._folder.samples(split) for split in task.splits}
        transport = {} if crossing is None else crossing.transport
        streams = {stream.name: stream for stream in system.streams(task, spec.tokens)}
        uploads = any(
            travels == "file" and streams[name].medium is not None
            for name, travels in transport.items()
        )
        folders = self._feature_folders(spec)
        devices = [
            DeviceConfig(
                name=device,
                system=system,
                task=task,
                tokens=spec.tokens,
                seed=spec.seed,
                samples=samples,
                features={name: own for (owner, name), own in folders.items() if owner == device},
                transport=transport,
                file_bits=self._folder.store.fetch(self._folder.file_bits) if uploads else None,
                federation=spec.federation,
                device=self._study.device,
            )
            for device in devices_of(list(streams.values()))
        ]
        station = StationConfig(
            system=system,
            task=task,
            tokens=spec.tokens,
            seed=spec.seed,
            samples=samples,
            link=self._study.link_at(self._study.bandwidth_hz[0])
            if crossing is None
            else crossing.link,
            required=tuple(
                name for name in system.served(task) if name in streams and streams[name].required
            ),
            max_answer_tokens=self._study.evaluation.max_answer_tokens,
            device=self._study.device,
        )
        return devices, station

    def _feature_folders(self, spec: PhaseSpec) -> dict[tuple[str, str], dict[str, Path]]:
        """Feature stores of a network, by device, name and split."""
        return {
            place: {
                split: self._artifacts.path(self._stored(own))
                for own in wanted
                for split in own.splits
            }
            for place, wanted in features_of(spec.system, spec.task, spec.tokens).items()
        }

    def _stored(self, wanted: AnyFeatures) -> FeaturesSpec:
        (found,) = (spec for spec in self._features if spec.features.covers(wanted))
        return found


def _senders(spec: PhaseSpec) -> tuple[str, ...]:
    """Devices that take part in a phase."""
    return devices_of(streams_of(spec.system, spec.task, spec.tokens, spec.definition))


def _fetch(folder: StudyFolder, specs: Sequence[Spec], splits: Sequence[str]) -> None:
    for spec in specs:
        folder.artifacts.path(spec)
    for split in splits:
        folder.samples(split)


def _survive(action: Callable[[], None]) -> None:
    """Retries an action whose processes died; it resumes from its checkpoint or journal."""
    retrying(action, "a phase", (PeerLostError, StateLostError))
