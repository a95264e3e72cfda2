"""A system with everything that its two sides are built from, and both sides in one place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..datasets.samples import Samples, read_samples
from ..systems.base import FeatureFolders, System, TokenLengths
from ..systems.phases import Phase, StreamInput
from ..systems.sides import STATION, Predictions, Receiver, Trained, Transmitter
from ..systems.streams import Feedback, Received, Stream, devices_of
from ..tasks.base import Task

ROWS = (0, 1, 2, 3)
"""Samples of a batch."""

MAX_ANSWER_TOKENS = 4


@contextmanager
def seeded(*role: str) -> Iterator[None]:
    """Runs a block on the CPU under the seed of a role; leaves torch's generator as it was."""
    digest = hashlib.blake2b(repr(role).encode(), digest_size=4).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest, "big"))
        yield


@dataclass(frozen=True)
class SystemCase:
    """A system with everything that its two sides are built from.

    Attributes:
        system: The system.
        task: A task that the system can learn.
        tokens: Token length of each device that has a budget.
        samples: Table of each split.
        features: Frozen tokens of each device, see :meth:`System.features`.
    """

    system: System
    task: Task
    tokens: TokenLengths
    samples: Mapping[str, Path]
    features: Mapping[str, FeatureFolders]

    @classmethod
    def prepare(
        cls, system: System, task: Task, tokens: TokenLengths, root: Path, folder: Path
    ) -> SystemCase:
        """Writes the tables and frozen tokens of the data below ``root`` into ``folder``."""
        samples = {split: folder / f"{split}.parquet" for split in task.splits}
        for split, file in samples.items():
            task.samples(root, split).write(file)
        features: dict[str, dict[str, dict[str, Path]]] = {}
        for device in devices_of(system.streams(task, tokens)):
            for name, entries in system.features(task, device, tokens).items():
                stores = features.setdefault(device, {}).setdefault(name, {})
                for number, entry in enumerate(entries):
                    store = folder / f"{device}-{name}-{number}"
                    store.mkdir()
                    entry.write(store, task, root, "cpu")
                    stores.update(dict.fromkeys(entry.splits, store))
        return cls(system, task, tokens, samples, features)

    @property
    def streams(self) -> dict[str, Stream]:
        """The system's streams by name."""
        return {stream.name: stream for stream in self.system.streams(self.task, self.tokens)}

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The system's phases."""
        return self.system.phases(self.task)

    def batch(self, split: str) -> Samples:
        """The samples that the tests send."""
        return read_samples(self.samples[split]).take(ROWS)

    def unsplit(self) -> Unsplit:
        """Both sides, initialised under fixed seeds."""
        transmitters = {}
        for device in devices_of(tuple(self.streams.values())):
            with seeded("transmitter", device):
                transmitters[device] = self.system.transmitter(
                    self.task, device, self.tokens, self.features.get(device, {}), "cpu"
                )
        return Unsplit(self, transmitters, self.receiver())

    def receiver(self) -> Receiver:
        """The base station's side, initialised under fixed seeds."""
        built = self.system.receiver(self.task, seeded, self.tokens, "cpu", MAX_ANSWER_TOKENS)
        built.prepare(read_samples(self.samples[self.task.train_split]))
        return built


@dataclass(frozen=True)
class Unsplit:
    """Both sides of a system in one place, with no air in between."""

    case: SystemCase
    transmitters: Mapping[str, Transmitter]
    receiver: Receiver

    @property
    def sides(self) -> dict[str, Trained]:
        """Devices and base station by name."""
        return {**self.transmitters, STATION: self.receiver}

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter of both sides."""
        return {
            f"{side}.{name}": parameter
            for side, module in self.sides.items()
            for name, parameter in module.named_parameters()
        }

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase trains."""
        return [parameter for side in self.sides.values() for parameter in side.trainable(phase)]

    def shake(self) -> None:
        """Moves all trained parameters away from their initial values, which may be zero."""
        with seeded("shake"), torch.no_grad():
            for parameter in self.named_parameters().values():
                if parameter.requires_grad:
                    parameter.add_(0.02 * torch.randn_like(parameter))

    def send(self, inputs: StreamInput) -> tuple[Tensor, Tensor]:
        """Symbols ``[B, N]`` of a stream, and which of them are valid.

        They are as they arrive: at unit power, unless the base station is told their scale.
        """
        symbols, valid = self._raw(inputs)
        return symbols / self._scale(inputs.stream, symbols, valid), valid

    def _raw(self, inputs: StreamInput) -> tuple[Tensor, Tensor]:
        sender = self.transmitters[self.case.streams[inputs.stream].device]
        tokens = sender.read(inputs.stream, inputs.split, self.case.batch(inputs.split))
        symbols, valid = sender(inputs.stream, *tokens)
        return symbols, valid

    def _scale(self, stream: str, symbols: Tensor, valid: Tensor) -> Tensor:
        """Divisor ``[B, 1]`` of each sample's symbols that the base station does not undo.

        It is 1 for a stream that sends its scale.
        """
        if self.case.streams[stream].sends_scale:
            return torch.ones(len(symbols), 1)
        energy = (symbols.abs().square() * valid).sum(1, keepdim=True)
        return (energy / valid.sum(1, keepdim=True).clamp(min=1)).clamp(min=1e-12).sqrt()

    def begin(self, phase: Phase) -> None:
        """Begins a phase on both sides."""
        for side in self.sides.values():
            side.begin(phase.name)

    def losses(self, phase: Phase) -> dict[str, Tensor]:
        """Losses of a step in which everything arrives as it was sent."""
        self.begin(phase)
        received = {inputs.stream: handed_over(*self.send(inputs)) for inputs in phase.inputs}
        targets = {inputs.split: self.case.batch(inputs.split) for inputs in phase.inputs}
        with seeded("dropout"):
            return self.receiver.losses(phase.name, received, targets)

    @torch.no_grad()
    def served(self) -> dict[str, Received]:
        """Streams of test samples, as they were sent."""
        split = self.case.task.test_split
        names = self.case.system.served(self.case.task)
        return {name: handed_over(*self.send(StreamInput(name, split))) for name in names}

    @torch.no_grad()
    def predict(
        self, asked: Sequence[bool] = (True,) * len(ROWS), truth: Sequence[str] | None = None
    ) -> Predictions:
        """Answers to test samples; ``truth`` replaces their true answers."""
        self.receiver.eval()
        targets = self.case.batch(self.case.task.test_split)
        if truth is not None:
            targets = type(targets)({**targets.columns, "answer": tuple(truth)})
        result = self.receiver.predict(self.served(), targets, torch.tensor(asked))
        split = self.case.task.test_split
        scales: dict[str, Tensor] = {}
        while isinstance(result, Feedback):
            stream = result.stream
            if stream not in scales:
                scales[stream] = self._scale(stream, *self._raw(StreamInput(stream, split)))
            sender = self.transmitters[self.case.streams[stream].device]
            scales[stream] = scales[stream][result.rows]
            symbols, valid = sender.reply(result)
            received = {stream: handed_over(symbols / scales[stream], valid)}
            result = self.receiver.resume(received)
        return result


def handed_over(symbols: Tensor, valid: Tensor) -> Received:
    """The reception of symbols over a noiseless air."""
    symbols = torch.where(valid, symbols, 0)
    return Received(
        symbols=symbols,
        noise_var=torch.zeros(symbols.shape),
        valid=valid,
        erased=torch.zeros_like(valid),
        sent=symbols.detach(),
        arrived=torch.ones(len(symbols), dtype=torch.bool),
    )


def fingerprint(case: SystemCase) -> dict[str, float]:
    """The losses of a system from fixed seeds, the same in every process."""
    torch.set_num_threads(1)
    unsplit = case.unsplit()
    return {
        f"{phase.name} {name}": float(loss.detach())
        for phase in case.phases
        for name, loss in unsplit.losses(phase).items()
    }
