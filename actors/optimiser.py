"""One optimiser for every trained part, so that both sides of the split step alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import get_scheduler

from .messages import Training


class Optimiser:
    """AdamW with its learning-rate schedule over some parameters (maybe none)."""

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._clip = training.gradient_clip
        if not self._parameters:
            return
        self._adamw = torch.optim.AdamW(self._parameters, lr=training.learning_rate)
        minimum = {"min_lr": min(training.min_learning_rate, training.learning_rate)}
        self._schedule = get_scheduler(
            training.schedule,
            self._adamw,
            num_warmup_steps=training.warmup_steps,
            num_training_steps=training.steps,
            scheduler_specific_kwargs=minimum
            if training.schedule == "cosine_with_min_lr"
            else None,
        )

    def step(self) -> None:
        """Updates from the accumulated gradients and clears them."""
        if not self._parameters:
            return
        nn.utils.clip_grad_norm_(self._parameters, self._clip)
        self._adamw.step()
        self._schedule.step()
        self._adamw.zero_grad(set_to_none=True)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs a block under torch's global seed and leaves the generator as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
