"""Networks of a study's phases and cells, from its frozen tokens and samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from actors import DeviceConfig, Engine, Network, StationConfig
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.features import AnyFeatures
from tokcom_core.systems import devices_of

from ..plan.cells import features_of
from ..plan.specs import Cell, Crossing, FeaturesSpec, PhaseSpec, streams_of
from ..plan.study import Study
from ..storage.folder import StudyFolder


class NetworkFactory:
    """Makes networks, and says what they ask and send.

    Args:
        study: Study that they belong to.
        folder: Folder of its artifacts and samples.
        features: Frozen tokens of the study.
    """

    def __init__(self, study: Study, folder: StudyFolder, features: list[FeaturesSpec]) -> None:
        self.study = study
        self.folder = folder
        self.features = features

    def network(self, spec: PhaseSpec, engine: Engine, crossing: Crossing | None = None) -> Network:
        """A network for a phase, freshly initialised from the phase's seed.

        Args:
            spec: Phase to train or to evaluate.
            engine: Engine that it lives on.
            crossing: Crossing of the test streams; that of the phase by default.
        """
        devices, station = self.parts(spec, crossing)
        station = replace(station, link=spec.user_link(station.link))
        population = None if spec.crossing is None else spec.crossing.population
        sizes = {split: len(self.samples(split)) for split in spec.task.splits}
        return Network(devices, station, sizes, engine, population)

    def load_start(self, network: Network, spec: PhaseSpec) -> None:
        """Loads what a phase starts from: its parent's weights, if it has one."""
        if spec.parent is not None:
            network.load(self.folder.artifacts.path(spec.parent), _trained_devices(spec.parent))

    def parts(
        self, spec: PhaseSpec, crossing: Crossing | None
    ) -> tuple[list[DeviceConfig], StationConfig]:
        """Devices and base station of a network, see :meth:`network`."""
        crossing = crossing or spec.crossing
        system, task = spec.system, spec.task
        samples = {split: self.folder.samples(split) for split in task.splits}
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
                file_bits=self.folder.store.fetch(self.folder.file_bits) if uploads else None,
                federation=spec.federation,
                device=self.study.torch_device,
            )
            for device in devices_of(list(streams.values()))
        ]
        station = StationConfig(
            system=system,
            task=task,
            tokens=spec.tokens,
            seed=spec.seed,
            samples=samples,
            link=self.study.link_at(self.study.bandwidth_hz[0])
            if crossing is None
            else crossing.link,
            required=tuple(
                name for name in system.served(task) if name in streams and streams[name].required
            ),
            max_answer_tokens=self.study.evaluation.max_answer_tokens,
            device=self.study.torch_device,
        )
        return devices, station

    def samples(self, split: str) -> Samples:
        """The samples of a split that could be read."""
        return read_samples(self.folder.samples(split))

    def asked(self, cell: Cell) -> Samples:
        """The test samples that a cell asks."""
        test = self.samples(cell.task.test_split)
        return test.take(range(min(len(test), cell.questions or len(test))))

    def windows(self, cell: Cell, asked: Samples) -> dict[str, dict[str, float]]:
        """Mean number of the encoders' windows in the test media, by device and feature name."""
        found: dict[str, dict[str, float]] = {}
        wanted = features_of(cell.system, cell.task, cell.tested.tokens)
        for (device, name), every in wanted.items():
            (own,) = (f for f in every if cell.task.test_split in f.splits)
            folder = self.folder.artifacts.path(self._stored(own))
            found.setdefault(device, {})[name] = own.windows(folder, asked.media_id)
        return found

    def _feature_folders(self, spec: PhaseSpec) -> dict[tuple[str, str], dict[str, Path]]:
        """Feature stores of a network, by device, name and split."""
        return {
            place: {
                split: self.folder.artifacts.path(self._stored(own))
                for own in wanted
                for split in own.splits
            }
            for place, wanted in features_of(spec.system, spec.task, spec.tokens).items()
        }

    def _stored(self, wanted: AnyFeatures) -> FeaturesSpec:
        (found,) = (spec for spec in self.features if spec.features.covers(wanted))
        return found


def _trained_devices(spec: PhaseSpec) -> tuple[str, ...]:
    """Devices that take part in a phase, or in one before it."""
    streams = [
        stream
        for own in spec.lineage
        for stream in streams_of(own.system, own.task, own.tokens, own.definition)
    ]
    return devices_of(streams)
