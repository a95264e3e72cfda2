"""What the receivers of the DeepSC family have in common: streams to vectors, answers to losses.

Shapes: ``B`` batch, ``V`` vectors that are sent, ``R`` real numbers of a vector, ``C`` classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...datasets.samples import Samples
from ..sides import Predictions, Receiver
from ..streams import Received
from ..tokens import by_token, unpack
from .answers import AnswerSet
from .config import AnswerConfig, ChannelCode
from .layers import task_indices

Vectors = Mapping[str, tuple[Tensor, Tensor]]
"""Real numbers ``[B, V, R]`` of each stream, and which are valid ``[B, V]``."""


class AnsweringReceiver(Receiver):
    """A receiver that gives the most likely answer of a task's closed set.

    Args:
        codes: Channel code of each stream.
        tasks: Names of the tasks.
        answers: Closed set of answers.
        asked: Stream without which there is nothing to answer.
        device: Torch device.
    """

    def __init__(
        self,
        codes: Mapping[str, ChannelCode],
        tasks: tuple[str, ...],
        answers: AnswerConfig,
        asked: str,
        device: torch.device,
    ) -> None:
        super().__init__()
        self._codes, self._tasks, self._asked, self._device = dict(codes), tasks, asked, device
        self.answers = AnswerSet(answers)

    @abstractmethod
    def logits(self, vectors: Vectors, task: Tensor) -> Tensor:
        """Logits ``[B, C]`` of the answers."""

    def prepare(self, train: Samples) -> None:
        task = task_indices(train, self._tasks)
        self.answers.learn(train.answer, task, len(self._tasks))

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return list(self.parameters())

    def losses(
        self, phase: str, received: Mapping[str, Received], targets: Mapping[str, Samples]
    ) -> dict[str, Tensor]:
        (samples,) = targets.values()
        asked = received[self._asked].arrived
        if not asked.any():
            return {}
        arrived = samples.take(asked.nonzero()[:, 0].tolist())
        return self.phase_losses(phase, self._vectors(received, asked), arrived)

    def phase_losses(self, phase: str, vectors: Vectors, samples: Samples) -> dict[str, Tensor]:
        """Losses of samples that have all arrived."""
        task = self._task_indices(samples)
        return {"task": self.answers.loss(self.logits(vectors, task), samples.answer, task)}

    def predict(
        self, received: Mapping[str, Received], targets: Samples, asked: Tensor
    ) -> Predictions:
        questions = targets.take(asked.nonzero()[:, 0].tolist())
        task = self._task_indices(questions)
        logits = self.logits(self._vectors(received, asked), task)
        return self.answers.predict(logits, questions, task)

    def _task_indices(self, samples: Samples) -> Tensor:
        return task_indices(samples, self._tasks).to(self._device)

    def _vectors(self, received: Mapping[str, Received], asked: Tensor) -> Vectors:
        """The vectors of the samples that are asked.

        If nothing of a stream has arrived, its vectors are all zeros and count as valid, as
        attention needs something to attend to.
        """
        found = {}
        for name, stream in received.items():
            code = self._codes[name]
            reals = unpack(stream.symbols[asked], code.reals)
            valid = by_token(stream.delivered[asked], code.reals // 2)
            found[name] = (reals, valid | ~valid.any(1, keepdim=True))
        return found
