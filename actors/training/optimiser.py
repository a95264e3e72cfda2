"""The optimiser of both sides of the split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim.adamw import adamw

from channel_models import kept_generators
from tokcom_core.systems import Training

from .schedules import learning_rate_at

_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


class Optimiser:
    """AdamW with its learning-rate schedule over some parameters (maybe none).

    ``torch.optim.AdamW`` would import torch's compiler, which takes a third of the time in which a
    process of devices starts. The function that it calls, which is used here, does not.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._training = training
        self._steps = 0
        self._moments = [
            {
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
                "step": torch.zeros(()),
            }
            for p in self._parameters
        ]

    def save(self, file: Path) -> None:
        """Saves AdamW's moments and the number of steps as safetensors."""
        tensors = {
            f"{i}.{name}": value.detach().cpu().contiguous()
            for i, moments in enumerate(self._moments)
            for name, value in moments.items()
        }
        save_file(tensors, file, metadata={"steps": str(self._steps)})

    def load(self, file: Path) -> None:
        """Restores what :meth:`save` saved.

        Raises:
            ValueError: for a file that is damaged, or that another version has written.
        """
        try:
            with safe_open(file, "pt") as stored:
                self._steps = int((stored.metadata() or {})["steps"])
                for i, moments in enumerate(self._moments):
                    for name, value in moments.items():
                        tensor = stored.get_tensor(f"{i}.{name}")
                        if tensor.shape != value.shape:
                            raise ValueError
                        value.copy_(tensor)
        except (KeyError, ValueError, SafetensorError):
            raise ValueError(
                f"{file} is damaged, or of another version; remove this checkpoint to begin again"
            ) from None

    @torch.no_grad()
    def step(self) -> None:
        """Updates from the accumulated gradients and clears them."""
        training = self._training
        if training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self._parameters, training.gradient_clip)
        moments = [
            m for p, m in zip(self._parameters, self._moments, strict=True) if p.grad is not None
        ]
        first, second, steps = ([m[name] for m in moments] for name in _MOMENTS)
        adamw(
            [p for p in self._parameters if p.grad is not None],
            [p.grad for p in self._parameters if p.grad is not None],
            first,
            second,
            [],
            steps,
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=learning_rate_at(self._steps, training),
            weight_decay=training.weight_decay,
            eps=1e-8,
            maximize=False,
        )
        self._steps += 1
        for parameter in self._parameters:
            parameter.grad = None


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Runs a block under torch's global seed and leaves its generators as they were."""
    with kept_generators():
        torch.manual_seed(seed)
        yield
