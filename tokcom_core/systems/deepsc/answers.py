"""The closed set of answers: which they are, their loss, and the most likely one.

Shapes: ``B`` batch, ``D`` features, ``C`` classes, ``A`` answers (at most C), ``T`` tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...answers import IGNORED
from ...datasets.samples import Samples
from ..sides import Predictions
from .config import AnswerConfig


class AnswerSet:
    """The most frequent answers of the training split as classes.

    VQA models are usually trained on the 3,129 most frequent answers of VQAv2, with one sigmoid per
    answer. Published targets are soft scores from ten annotators; here the one answer of a sample
    has target 1. An answer outside the set has no class and cannot be given.

    T- and U-DeepSC's code has a head for each task. Here a sample uses only the logits of its own
    task's answers, which comes to the same: other answers and unused classes take no part in its
    loss. When they did, DeepSC stayed at chance on reviews, which have 2 answers, in 32 classes.
    """

    def __init__(self, config: AnswerConfig) -> None:
        self._config = config
        self.answers: tuple[str, ...] = ()
        self._of_task = torch.zeros(0, 0, dtype=torch.bool)  # [T, A]

    def learn(self, answers: Sequence[str], task: Tensor, tasks: int) -> None:
        """Takes the most frequent of these answers, and notes which tasks they belong to.

        Ties are broken in alphabetical order. A task that has none of these answers, such as one
        that is only tested on, may give any of them.

        Args:
            answers: Answers of the training split.
            task: Number ``[B]`` of each answer's task.
            tasks: Number of tasks.
        """
        counts = Counter(answers)
        ranked = sorted(counts, key=lambda answer: (-counts[answer], answer))
        self.answers = tuple(ranked[: self._config.classes])
        target = self._classes(answers)
        known = target != IGNORED
        self._of_task = torch.zeros(tasks, len(self.answers), dtype=torch.bool)
        self._of_task[task[known], target[known]] = True
        self._of_task |= ~self._of_task.any(1, keepdim=True)

    def head(self, width: int) -> nn.Linear:
        """A linear layer ``[B, D]`` to logits ``[B, C]``."""
        return nn.Linear(width, self._config.classes)

    def loss(self, logits: Tensor, answers: Sequence[str], task: Tensor) -> Tensor:
        """The mean over samples.

        With sigmoids, a sample's loss is the sum over its task's answers. With a softmax, samples
        whose answer has no class are left out.
        """
        own, right = self._own(task), self._right(answers, task)
        logits = logits[:, : len(self.answers)]
        if self._config.loss == "softmax":
            likelihood = logits.masked_fill(~own, -torch.inf).log_softmax(1)
            return -likelihood[right].sum() / right.sum().clamp(min=1)
        each = F.binary_cross_entropy_with_logits(logits, right.float(), reduction="none")
        return (each * own).sum(1).mean()

    def predict(self, logits: Tensor, truth: Samples, task: Tensor) -> Predictions:
        """The most likely answers; the truth only scores them."""
        own = self._own(task)
        best = logits[:, : len(self.answers)].masked_fill(~own, -torch.inf).argmax(1)
        texts = tuple(self.answers[number] for number in best.tolist())
        return Predictions(
            texts=texts,
            first_token=tuple(a == b for a, b in zip(texts, truth.answer, strict=True)),
            losses={"task": float(self.loss(logits, truth.answer, task))},
            loss_counts={"task": self._counted(truth.answer, task)},
        )

    def _counted(self, answers: Sequence[str], task: Tensor) -> int:
        """Number of samples in a mean loss: a softmax leaves out answers without a class."""
        if self._config.loss != "softmax":
            return len(answers)
        return int(self._right(answers, task).sum())

    def _right(self, answers: Sequence[str], task: Tensor) -> Tensor:
        """Marks each answer's class among those of its task, bool ``[B, A]``; no class, no mark."""
        own = self._own(task)
        target = self._classes(answers).to(own.device)
        return own & (torch.arange(len(self.answers), device=own.device) == target[:, None])

    def _classes(self, answers: Sequence[str]) -> Tensor:
        """Class ``[B]`` of each answer."""
        numbers = {answer: number for number, answer in enumerate(self.answers)}
        return torch.tensor([numbers.get(answer, IGNORED) for answer in answers])

    def _own(self, task: Tensor) -> Tensor:
        """Which answers belong to the samples' tasks, bool ``[B, A]``."""
        return self._of_task.to(task.device)[task]
