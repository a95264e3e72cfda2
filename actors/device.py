"""A device: its frozen tokens and its trained token transmitter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from channel_models import Frame, normalise, spawn_seed
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.devices import pick_device
from tokcom_core.storage import reading
from tokcom_core.systems import Feedback, Phase, Stream, System, Transmitter, Transport
from tokcom_core.tasks import Task

from .contract import checked_part, checked_symbols
from .messages import Gradient, StepPart, StreamRequest
from .training.federation import Federation, UserModels
from .training.optimiser import Optimiser, seeded


@dataclass(frozen=True)
class DeviceConfig:
    """Config of a device; holds paths, not tensors, so that it is cheap to send.

    Attributes:
        name: Name of the device, unique in the network.
        system: System that the device belongs to.
        task: Task that the samples belong to.
        tokens: Token length of each device, see :data:`~tokcom_core.systems.TokenLengths`.
        seed: Seed of the study, from which the device's own seeds are spawned by its name.
        samples: Table of each split.
        features: Feature stores of the frozen tokens, by name and split.
        transport: Transport of each stream; ``analog`` by default.
        file_bits: Table of the media files' sizes, for streams of transport ``file``.
        federation: Users of split-federated training, each with a transmitter of its own; None for
            one transmitter that all share.
        device: Torch device or ``auto``.
    """

    name: str
    system: System
    task: Task
    tokens: Mapping[str, int]
    seed: int
    samples: Mapping[str, Path]
    features: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    transport: Mapping[str, Transport] = field(default_factory=dict)
    file_bits: Path | None = None
    federation: Federation | None = None
    device: str = "auto"

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Streams that the device may send."""
        every = self.system.streams(self.task, self.tokens)
        return tuple(stream for stream in every if stream.device == self.name)


class Device:
    """Sends tokens as symbols and learns from the gradients that come back.

    A plain class: engines decide whether it lives in this process or in a Ray actor.
    """

    def __init__(self, config: DeviceConfig) -> None:
        self.name = config.name
        self._config = config
        self._device = pick_device(config.device)
        self._streams = {stream.name: stream for stream in config.streams}
        self._samples = {split: read_samples(file) for split, file in config.samples.items()}
        self._file_bits = (
            None
            if config.file_bits is None
            else pd.read_parquet(config.file_bits).set_index("media_id")
        )
        with seeded(spawn_seed(config.seed, config.name, "projection")):
            built = config.system.transmitter(
                config.task, config.name, config.tokens, config.features, config.device
            )
        self.transmitter = checked_part(config.system, "transmitter", built, Transmitter)
        self._users = (
            UserModels(config.federation, self.transmitter)
            if config.federation is not None and self.trained_weights
            else None
        )
        self._length = config.tokens.get(config.name)
        self._optimiser: Optimiser | None = None
        self._sent: dict[str, tuple[Tensor, ...]] = {}

    @property
    def trained_weights(self) -> int:
        """Number of weights that some phase trains."""
        return sum(p.numel() for p in self.transmitter.parameters() if p.requires_grad)

    def count_weights(self) -> dict[str, int]:
        """:attr:`trained_weights` by the device's name."""
        return {self.name: self.trained_weights}

    def begin(self, phase: Phase) -> bool:
        """Begins a phase with a fresh optimiser; returns whether the device learns in it."""
        self.transmitter.begin(phase.name)
        trainable = self.transmitter.trainable(phase.name)
        self._optimiser = Optimiser(trainable, phase.training)
        self.transmitter.zero_grad()  # weights untrained in the phase before have collected some
        if self._users is not None:
            self._users.begin(phase)
        return bool(trainable)

    def transmit(self, request: StreamRequest) -> Frame:
        """Steps 4 to 6 of Algorithm 1: tokens, slide, projection, symbols of unit power."""
        self._set_length(request.tokens)
        stream = self._streams[request.stream]
        samples = self._samples[request.split].take(request.rows)
        inputs = self.transmitter.read(stream.name, request.split, samples)
        if not request.training:
            self.transmitter.eval()
        seed = spawn_seed(self._config.seed, self.name, stream.name, request.split, *request.rows)
        with torch.set_grad_enabled(request.training), seeded(seed):
            given = (
                self._users.transmit(request, stream, *inputs)
                if self._users is not None and request.training
                else self.transmitter(stream.name, *inputs)
            )
            symbols, valid = checked_symbols(
                self.transmitter, "forward", stream, len(request.rows), given
            )
            if request.muted:
                valid = valid & ~torch.tensor(request.muted, device=valid.device)[:, None]
            symbols, scale = normalise(symbols, valid)
        if request.training and symbols.requires_grad:
            self._sent[stream.name] = (symbols, scale) if stream.sends_scale else (symbols,)
        uploads = self._transport(stream.name) == "file"
        bits = self._bits_of_files(stream, samples) if uploads else None
        frame = self._frame(stream, symbols, valid, scale, bits)
        return replace(frame, members=request.members)

    @torch.no_grad()
    def reply(self, feedback: Feedback) -> Frame:
        """Returns a stream's next frame, for the samples of its last one whose answers go on."""
        stream, rows = self._streams[feedback.stream], len(feedback.rows)
        given = self.transmitter.reply(feedback)
        symbols, valid = checked_symbols(self.transmitter, "reply", stream, rows, given)
        symbols, scale = normalise(symbols, valid)
        return self._frame(stream, symbols, valid, scale)

    def _set_length(self, count: int | None) -> None:
        """Sets the token length of the transmitter; None stands for the one it is built for."""
        length = self._config.tokens.get(self.name) if count is None else count
        if length is not None and length != self._length:
            self.transmitter.set_length(length)
            self._length = length

    def _transport(self, stream: str) -> Transport:
        return self._config.transport.get(stream, "analog")

    def _frame(
        self,
        stream: Stream,
        symbols: Tensor,
        valid: Tensor,
        scale: Tensor,
        file_bits: Tensor | None = None,
    ) -> Frame:
        if valid.all():  # an expanded mask is sent as a single byte
            valid = valid[:1, :1].expand_as(valid)
        return Frame(
            self.name,
            stream.name,
            symbols.detach(),
            valid,
            scale.detach() if stream.sends_scale else torch.ones_like(scale),
            block=stream.symbols_per_token,
            file_bits=file_bits,
            transport=self._transport(stream.name),
            sends_scale=stream.sends_scale,
        )

    def _bits_of_files(self, stream: Stream, samples: Samples) -> Tensor:
        """Bits ``[B]`` of the sources of a stream: a media file, a text's UTF-8 bytes, or both."""
        bits = torch.zeros(len(samples))
        if stream.text is not None:
            bits += torch.tensor([8.0 * len(text.encode()) for text in samples[stream.text]])
        if stream.medium is not None:
            assert self._file_bits is not None
            of_media = self._file_bits.loc[list(samples.media_id), stream.medium]
            bits += torch.tensor(of_media.astype(float).tolist())
        return bits.to(self._device)

    def learn(self, part: StepPart, *gradients: Gradient) -> None:
        """Back-propagates gradients of the frames sent last; steps after a batch's last part."""
        assert self._optimiser is not None, "begin() begins a phase"
        for gradient in gradients:
            sent = self._sent.pop(gradient.stream, None)
            if sent is None or gradient.symbols is None or gradient.scale is None:
                continue
            back = (gradient.symbols.to(self._device), gradient.scale.to(self._device))
            torch.autograd.backward(sent, back[: len(sent)])
            if self._users is not None:
                self._users.count_trained(gradient.stream, back[0])
        if not part.last:
            return
        if self._users is None:
            self._optimiser.step()
        else:
            self._users.step()

    def state(self) -> dict[str, Tensor]:
        """The trained tensors."""
        return self.transmitter.trained_state()

    def follow(self, station: Mapping[str, Tensor]) -> None:
        """Takes over weights of the base station, see :meth:`Transmitter.follow`."""
        self.transmitter.follow(station)

    def save(self, folder: Path) -> None:
        """Saves the trained tensors below a folder."""
        self.transmitter.save(folder, self.name)

    def load(self, folder: Path) -> None:
        """Loads what :meth:`save` saved."""
        with reading(folder):
            self.transmitter.load(folder, self.name)

    def checkpoint(self, folder: Path) -> None:
        """Saves all state that the next step depends on."""
        assert self._optimiser is not None, "begin() begins a phase"
        self.save(folder)
        self._optimiser.save(folder / f"{self.name}-optimiser.safetensors")
        if self._users is not None:
            self._users.checkpoint(folder, self.name)

    def restore(self, folder: Path) -> None:
        """Restores what :meth:`checkpoint` saved, after :meth:`begin`."""
        assert self._optimiser is not None, "begin() begins a phase"
        self.load(folder)
        self._optimiser.load(folder / f"{self.name}-optimiser.safetensors")
        if self._users is not None:
            self._users.restore(folder, self.name)
        self._sent.clear()
