"""Emulates the many users of a cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from actors import Emulation, EmulationSetup, EmulationState

from ..plan.artifact_spec import Spec
from ..plan.operations import longest_tokens, operations_of, served_streams
from ..plan.specs import Cell
from ..storage.folder import StudyFolder
from ..tables.emulation import emulated_outcome
from ..tables.outcome import Outcome
from .networks import NetworkFactory

Watch = Callable[[Emulation, EmulationState], None]
"""Called after every batch of an emulation."""


class CellEmulator:
    """Emulates cells of one study, each by an engine of its own.

    Args:
        networks: Networks of the study.
    """

    def __init__(self, networks: NetworkFactory) -> None:
        self._networks = networks
        self._study, self._folder = networks.study, networks.folder

    def outcomes(self, cell: Cell, watch: Watch | None) -> list[Outcome]:
        """Emulates every evaluated condition of a cell."""
        assert cell.emulate is not None
        test = self._networks.samples(cell.task.test_split)
        windows = self._networks.windows(cell, self._networks.asked(cell))
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
        return outcomes

    def setup(self, cell: Cell, snr_db: float) -> EmulationSetup:
        """Setup of a cell's emulation."""
        devices, station = self._networks.parts(cell.tested, cell.crossing)
        asked = self._networks.asked(cell)
        streams = served_streams(cell.system, cell.task, cell.tested.tokens)
        windows = self._networks.windows(cell, asked)
        operations = operations_of(cell, longest_tokens(streams), windows)
        return EmulationSetup(
            devices=tuple(devices),
            station=station,
            streams=streams,
            trained=self._folder.artifacts.path(cell.trained),
            air=cell.crossing.air,
            snr_db=snr_db,
            split=cell.task.test_split,
            samples=len(asked),
            seed=cell.seed,
            encoding_ms={
                name: cell.compute.device_ms(own) for name, own in operations.device_gflop.items()
            },
        )

    def _fetches(self, cell: Cell) -> Callable[[], None] | None:
        """A function that fetches a cell's artifacts to a process's node; None if all share one."""
        if self._folder.store.shared:
            return None
        specs: tuple[Spec, ...] = (cell.trained, *self._networks.features)
        return partial(_fetch, self._folder, specs, self._study.task.splits)


def _fetch(folder: StudyFolder, specs: Sequence[Spec], splits: Sequence[str]) -> None:
    for spec in specs:
        folder.artifacts.path(spec)
    for split in splits:
        folder.samples(split)
