"""What each stage does, given its spec: one function each, run inside a trial."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from actors import (
    AlignmentLossConfig,
    DeviceConfig,
    Emulation,
    EmulationSetup,
    EmulationState,
    Network,
    PeerLostError,
    StationConfig,
    Stream,
    StreamInput,
    Training,
    share_of,
)
from channel_models import Link
from tokcom_core.datasets.samples import (
    Samples,
    read_samples,
)
from tokcom_core.encoders import AudioEncoder, MediaEncoder, VisionEncoder
from tokcom_core.features import open_features, write_features

from ..plan.cells import ModelSizes
from ..plan.methods import METHODS, uploads_files
from ..plan.specs import (
    MEDIA,
    SPLITS,
    AlignmentSpec,
    Cell,
    FeaturesSpec,
    TuningSpec,
    ValidationSpec,
)
from ..plan.study import Study
from ..storage.artifacts import Artifacts, Spec
from ..storage.folder import StudyFolder
from ..tables.emulation import emulated_outcome
from ..tables.table import (
    Outcome,
    write_answers,
    write_cell_curves,
    write_curves,
    write_devices,
    write_results,
)
from .checkpoints import KeptCheckpoints
from .splits import load_split

logger = logging.getLogger(__name__)

_STARTS = 5

Watch = Callable[[Emulation, EmulationState], None]
"""Called after every batch of an emulation."""


class Stages:
    """Runs specs of one study in its folder; made anew in every worker process."""

    def __init__(self, study: Study, folder: StudyFolder, features: list[FeaturesSpec]) -> None:
        self._study = study
        self._folder = folder
        self._artifacts: Artifacts = folder.artifacts
        self._features = features
        self._shapes = ModelSizes(study.models)

    def run(self, spec: Spec) -> None:
        """Makes the artifact (or the table, for a cell) of ``spec``."""
        if isinstance(spec, FeaturesSpec):
            self._encode(spec)
        elif isinstance(spec, AlignmentSpec):
            _survive(lambda: self._align(spec))
        elif isinstance(spec, TuningSpec):
            _survive(lambda: self._fine_tune(spec))
        elif isinstance(spec, ValidationSpec):
            _survive(lambda: self._validate(spec))
        elif isinstance(spec, Cell):
            _survive(lambda: self._evaluate(spec))
        else:
            raise TypeError(f"no stage for {type(spec).__name__}")

    def _encode(self, spec: FeaturesSpec) -> None:
        data = self._folder.data(self._study)
        clips = dict.fromkeys(v for split in spec.splits for v in load_split(data, split).video_id)
        encoder = _encoder(spec, self._study.device)
        with self._artifacts.write(spec) as partial:
            write_features(partial, encoder, data / spec.dataset, list(clips), spec.sliding)

    def _align(self, spec: AlignmentSpec) -> None:
        config = spec.alignment
        training = Training(
            config.steps,
            config.learning_rate,
            "cosine_with_min_lr",
            gradient_clip=config.gradient_clip,
        )
        contrast = AlignmentLossConfig(
            spec.contrastive,
            config.temperature,
            config.pooling.vision,
            config.pooling.audio,
            config.train_anchor,
        )
        streams: tuple[Stream, ...] = (
            ("vision", "audio", "caption") if spec.contrastive else ("caption",)
        )
        parts = [StreamInput(stream, "align") for stream in streams]
        if config.reconstruct_questions:
            parts.append(StreamInput("question", "train"))
        sizes = {split: self._size(split) for split in ("align", "train")}
        with (
            self._artifacts.write(spec) as partial,
            self._network(spec, intact=False, files=spec.files) as network,
        ):
            network.set_channel(spec.air, spec.snr_db)
            checkpoints = self._checkpoints(spec)
            losses = network.align(training, contrast, parts, sizes, config.batch_size, checkpoints)
            network.save(partial)
            write_curves(partial / "curves.parquet", "alignment", losses)
        checkpoints.clear()

    def _fine_tune(self, spec: TuningSpec) -> None:
        training = Training(
            spec.steps,
            spec.learning_rate,
            "linear" if spec.schedule == "linear" else "constant_with_warmup",
            warmup_steps=min(spec.warmup_steps, spec.steps - 1),
            gradient_clip=spec.gradient_clip,
        )
        parts = _task_parts(spec, "train")
        size = self._size("train")
        with self._artifacts.write(spec) as partial, self._tuned_network(spec) as network:
            if spec.alignment is not None:
                network.load(self._artifacts.path(spec.alignment))
            network.set_channel(spec.air, spec.snr_db)
            if spec.rescale_receivers:
                network.calibrate(parts, size, batch_size=256)
            checkpoints = self._checkpoints(spec)
            losses = network.fine_tune(
                training,
                parts,
                size,
                spec.batch_size,
                checkpoints,
                spec.drop_modality,
                spec.answer_loss,
            )
            network.save(partial)
            write_curves(partial / "curves.parquet", "fine-tuning", losses)
        checkpoints.clear()

    def _checkpoints(self, spec: Spec) -> KeptCheckpoints:
        return KeptCheckpoints(self._folder.root / "checkpoints" / spec.key, self._folder.store)

    def _validate(self, spec: ValidationSpec) -> None:
        tuning = spec.tuning
        self._ensure_tuned(tuning)
        with self._artifacts.write(spec) as partial, self._tuned_network(tuning) as network:
            network.load(self._artifacts.path(tuning))
            network.set_channel(tuning.air, tuning.snr_db)
            scores = network.evaluate(_task_parts(tuning, "val"), self._size("val"), 128)
            accuracy = sum(scores.exact) / len(scores.exact)
            loss = scores.loss if tuning.answer_loss == "all_tokens" else scores.first_token_loss
            measured = {"accuracy": accuracy, "loss": loss}
            (partial / "validation.json").write_text(json.dumps(measured))

    def _evaluate(self, cell: Cell) -> None:
        start = time.monotonic()
        tuning = cell.tuning
        self._ensure_tuned(tuning)
        size = self._test_size(cell)
        asked = self.samples("test").take(range(size))
        shapes = self._shapes_of(cell)
        parts = _task_parts(tuning, "test")
        outcomes: list[Outcome] = []
        with self._tuned_network(tuning, cell.link) as network:
            network.load(self._artifacts.path(tuning))
            weights = network.parameter_counts()
            for nominal_db, snr_db in zip(cell.eval_snr_db, cell.eval_air_snr_db, strict=True):
                network.set_channel(tuning.air, snr_db)
                scores = network.evaluate(parts, size, cell.batch_size)
                outcomes.append(Outcome(cell, nominal_db, scores, asked, shapes, weights))
        self._finish(cell, outcomes, start)

    def emulate(self, cell: Cell, watch: Watch | None = None) -> None:
        """Lets a crowd of users ask the test questions; goes on where its journals end."""
        _survive(lambda: self._emulate(cell, watch))

    def _emulate(self, cell: Cell, watch: Watch | None) -> None:
        assert cell.emulate is not None
        start = time.monotonic()
        test = self.samples("test")
        shapes = self._shapes_of(cell)
        outcomes: list[Outcome] = []
        for nominal_db, snr_db in zip(cell.eval_snr_db, cell.eval_air_snr_db, strict=True):
            journal = self._folder.journal(cell.key, nominal_db)
            setting = self.setting(cell, snr_db)
            engine = self._study.resources.engine(
                self._study.engine, emulates=True, prepare=self._fetches(cell)
            )
            with Emulation(
                cell.emulate, setting, journal, engine, self._folder.store.keep
            ) as emulation:
                emulation.run(watch)
                outcomes.append(emulated_outcome(cell, nominal_db, emulation, test, shapes))
        self._finish(cell, outcomes, start)

    def _fetches(self, cell: Cell) -> Callable[[], None]:
        """What brings a cell's artifacts to wherever its processes live."""
        specs: tuple[Spec, ...] = (cell.tuning, *self._features)
        return partial(_fetch, self._folder, specs)

    def setting(self, cell: Cell, snr_db: float) -> EmulationSetup:
        """What a cell's emulation is made of."""
        tuning = cell.tuning
        devices, station = self._parts(tuning, intact=False, files=False, link=cell.link)
        assert tuning.tokens is not None
        return EmulationSetup(
            devices=tuple(devices),
            station=station,
            streams=METHODS[tuning.method].streams,
            trained=self._artifacts.path(tuning),
            air=tuning.air,
            snr_db=snr_db,
            split="test",
            samples=self._test_size(cell),
            longest={**tuning.tokens.model_dump(), "question": tuning.question_tokens},
            seed=tuning.seed,
        )

    def _shapes_of(self, cell: Cell) -> ModelSizes:
        """The encoders' sizes, and how many windows they make of the test questions' clips."""
        clips = self.samples("test").video_id[: self._test_size(cell)]
        windows: dict[str, float] = {
            spec.modality: open_features(self._artifacts.path(spec)).mean_windows(clips)
            for spec in self._features
            if "test" in spec.splits
        }
        return self._shapes.with_windows(windows)

    def _test_size(self, cell: Cell) -> int:
        size = self._size("test")
        return min(size, cell.questions or size)

    def _finish(self, cell: Cell, outcomes: Sequence[Outcome], start: float) -> None:
        tuning = cell.tuning
        made = [tuning] if tuning.alignment is None else [tuning.alignment, tuning]
        stages = [self._artifacts.path(spec) / "curves.parquet" for spec in made]
        write_cell_curves(self._folder, cell, stages)
        write_devices(self._folder, cell, outcomes)
        write_answers(self._folder, cell, outcomes)
        write_results(self._folder, cell, outcomes, time.monotonic() - start)

    def _ensure_tuned(self, spec: TuningSpec) -> None:
        """Fine-tunes where the study has no stage for it: candidates and floors share nothing."""
        if not self._artifacts.has(spec):
            self._fine_tune(spec)

    def samples(self, split: str) -> Samples:
        return read_samples(self._folder.samples(split))

    def _size(self, split: str) -> int:
        return len(self.samples(split))

    def _tuned_network(self, spec: TuningSpec, link: Link | None = None) -> Network:
        return self._network(spec, METHODS[spec.method].floor, uploads_files(spec.method), link)

    def _network(
        self,
        spec: AlignmentSpec | TuningSpec,
        intact: bool,
        files: bool,
        link: Link | None = None,
    ) -> Network:
        """The devices and base station that a spec needs, freshly initialised from its seed."""
        devices, station = self._parts(spec, intact, files, link)
        if spec.crowd is not None:
            share = share_of(station.link, spec.crowd.users_at_once, len(devices))
            station = replace(station, link=share)
        engine = self._study.resources.engine(self._study.engine)
        return Network(devices, station, engine, spec.crowd)

    def _parts(
        self,
        spec: AlignmentSpec | TuningSpec,
        intact: bool,
        files: bool,
        link: Link | None = None,
    ) -> tuple[list[DeviceConfig], StationConfig]:
        models = self._study.models
        devices = self._media_devices(spec, files) if spec.tokens is not None else []
        devices.append(
            DeviceConfig(
                name="text",
                modality="text",
                tokens={"question": spec.question_tokens, "caption": spec.caption_tokens},
                language_model=models.language,
                **self._shared(spec),
            )
        )
        station = StationConfig(
            modalities=tuple(device.modality for device in devices),
            seed=spec.seed,
            samples=self._sample_tables(),
            link=link or spec.link,
            receiver_width=models.receiver_width,
            receiver_sees_noise=models.receiver_input == "symbols+noise",
            text_intact=intact,
            language_model=models.language,
            max_answer_tokens=self._study.evaluation.max_answer_tokens,
            device=self._study.device,
        )
        return devices, station

    def _media_devices(self, spec: AlignmentSpec | TuningSpec, files: bool) -> list[DeviceConfig]:
        """The devices that hold audio and vision."""
        return [
            DeviceConfig(
                name=modality,
                modality=modality,
                tokens={modality: getattr(spec.tokens, modality)},
                features={
                    split: self._artifacts.path(f)
                    for f in self._features
                    if f.modality == modality
                    for split in f.splits
                },
                file_bits=self._folder.store.fetch(self._folder.file_bits) if files else None,
                federation=spec.federation,
                **self._shared(spec),
            )
            for modality in MEDIA
        ]

    def _shared(self, spec: AlignmentSpec | TuningSpec) -> dict[str, Any]:
        """What all devices of a network have in common."""
        return {
            "token_width": self._shapes.token_width,
            "seed": spec.seed,
            "samples": self._sample_tables(),
            "device": self._study.device,
        }

    def _sample_tables(self) -> dict[str, Path]:
        return {split: self._folder.samples(split) for split in SPLITS}


def _encoder(spec: FeaturesSpec, device: str) -> MediaEncoder:
    if spec.modality == "audio":
        assert spec.audio_span is not None
        return AudioEncoder(spec.encoder, device, spec.audio_span)
    assert spec.vision_crop is not None and spec.frames is not None
    return VisionEncoder(spec.encoder, device, spec.vision_crop, spec.frames)


def _fetch(folder: StudyFolder, specs: Sequence[Spec]) -> None:
    for spec in specs:
        folder.artifacts.path(spec)
    for split in SPLITS:
        folder.samples(split)


def _survive(stage: Callable[[], None]) -> None:
    """Starts a stage again whose processes died at a bad moment; it goes on at its checkpoint or
    journal."""
    for left in reversed(range(_STARTS)):
        try:
            stage()
        except PeerLostError:
            if not left:
                raise
        else:
            return


def _task_parts(spec: TuningSpec, split: str) -> list[StreamInput]:
    return [StreamInput(stream, split) for stream in METHODS[spec.method].streams]
