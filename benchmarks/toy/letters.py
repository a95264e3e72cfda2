"""A toy task and system, whose training and evaluation take milliseconds, or sleep."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tokcom_core.datasets.samples import Samples
from tokcom_core.systems import (
    FeatureFolders,
    Phase,
    Predictions,
    Received,
    Receiver,
    Seeded,
    Stream,
    StreamInput,
    System,
    TokenLengths,
    Training,
    Transmitter,
)
from tokcom_core.tasks import Task

LETTERS = "abcd"
MAX_TOKENS = 16


class Guessing(Task):
    """Which letter was sent? Samples are drawn without any files, and are always the same."""

    name: str = "guessing"
    texts: ClassVar[tuple[str, ...]] = ("letter",)
    groups: ClassVar[tuple[str, ...]] = ("letter",)

    def identity(self, root: Path) -> str:
        return "guessing"

    def samples(self, root: Path, split: str) -> Samples:
        drawn = np.random.default_rng(self.splits.index(split)).integers(len(LETTERS), size=32)
        letters = tuple(LETTERS[i] for i in drawn)
        names = tuple(f"{split}-{i}" for i in range(len(letters)))
        group = ("letter",) * len(letters)
        columns = {"sample_id": names, "media_id": names, "group": group}
        return Samples({**columns, "answer": letters, "letter": letters})


class LetterTransmitter(Transmitter):
    """Symbols of each letter, which are learned."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.symbols = nn.Embedding(len(LETTERS), 2 * symbols)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return list(self.parameters())

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        return (_indices(samples["letter"]),)

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        pairs = self.symbols(inputs[0]).reshape(len(inputs[0]), -1, 2)
        symbols = torch.view_as_complex(pairs)
        return symbols, torch.ones(symbols.shape, dtype=torch.bool)


class LetterReceiver(Receiver):
    """A linear classifier of the symbols; every step of its training sleeps first."""

    def __init__(self, symbols: int, step_s: float) -> None:
        super().__init__()
        self._step_s = step_s
        self.classifier = nn.Linear(2 * symbols, len(LETTERS))

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return list(self.parameters())

    def losses(
        self, phase: str, received: Mapping[str, Received], targets: Mapping[str, Samples]
    ) -> dict[str, Tensor]:
        time.sleep(self._step_s)
        (samples,) = targets.values()
        return {"task": F.cross_entropy(self._logits(received), _indices(samples.answer))}

    def predict(
        self, received: Mapping[str, Received], targets: Samples, asked: Tensor
    ) -> Predictions:
        logits, truth = self._logits(received)[asked], _indices(targets.answer)[asked]
        found = logits.argmax(1)
        texts = tuple(LETTERS[i] for i in found.tolist())
        right = tuple((found == truth).tolist())
        return Predictions(texts, right, {"task": float(F.cross_entropy(logits, truth))})

    def _logits(self, received: Mapping[str, Received]) -> Tensor:
        (own,) = received.values()
        logits: Tensor = self.classifier(torch.view_as_real(own.symbols).flatten(1))
        return logits


class Letters(System):
    """One device, one phase of ``steps`` steps, each of which sleeps ``step_s``."""

    name: str = "letters"
    steps: int = 2
    step_s: float = 0.0

    DEFAULT_TOKENS: ClassVar[dict[str, int]] = {"sender": 4}

    def swept_devices(self, task: Task) -> tuple[str, ...]:
        return ("sender",)

    def max_tokens(self, task: Task) -> dict[str, int]:
        return {"sender": MAX_TOKENS}

    def streams(self, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
        return (
            Stream(
                name="letter",
                device="sender",
                modality="text",
                max_tokens=tokens["sender"],
                symbols_per_token=1,
                text="letter",
            ),
        )

    def served(self, task: Task) -> tuple[str, ...]:
        return ("letter",)

    def phases(self, task: Task) -> tuple[Phase, ...]:
        return (
            Phase(
                name="training",
                inputs=(StreamInput("letter", task.train_split),),
                training=Training(self.steps, 1e-1, "linear"),
                batch_size=16,
                losses=("task",),
            ),
        )

    def transmitter(
        self,
        task: Task,
        device: str,
        tokens: TokenLengths,
        features: FeatureFolders,
        torch_device: str,
    ) -> Transmitter:
        return LetterTransmitter(tokens[device])

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        with seeded("classifier"):
            return LetterReceiver(tokens["sender"], self.step_s)


def _indices(letters: tuple[str, ...]) -> Tensor:
    return torch.tensor([LETTERS.index(letter) for letter in letters])
