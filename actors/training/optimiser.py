"""The optimiser of both sides of the split."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from tokcom_core.systems import Training

from .schedules import make_schedule

_PLACE = ("last_epoch", "_step_count", "_last_lr")
"""Entries of a schedule's state that change."""


class Optimiser:
    """AdamW with its learning-rate schedule over some parameters (maybe none)."""

    def __init__(self, parameters: Iterable[nn.Parameter], training: Training) -> None:
        self._parameters = [p for p in parameters if p.requires_grad]
        self._clip = training.gradient_clip
        if not self._parameters:
            return
        self._adamw = torch.optim.AdamW(
            self._parameters, lr=training.learning_rate, weight_decay=training.weight_decay
        )
        self._schedule = make_schedule(self._adamw, training)

    def save(self, file: Path) -> None:
        """Saves AdamW's moments and the schedule's place as safetensors."""
        moments = {
            f"{i}.{name}": value.detach().cpu().contiguous()
            for i, parameter in enumerate(self._parameters)
            for name, value in self._adamw.state[parameter].items()
        }
        place = self._schedule.state_dict() if self._parameters else {}
        kept = {name: place[name] for name in _PLACE if name in place}
        save_file(moments, file, metadata={"schedule": json.dumps(kept)})

    def load(self, file: Path) -> None:
        """Restores what :meth:`save` saved."""
        if not self._parameters:
            return
        with safe_open(file, "pt") as stored:
            for key in stored.keys():  # noqa: SIM118 (not a dictionary)
                number, _, name = key.partition(".")
                parameter = self._parameters[int(number)]
                device = "cpu" if name == "step" else parameter.device
                self._adamw.state[parameter][name] = stored.get_tensor(key).to(device)
            kept = json.loads(stored.metadata()["schedule"])
        self._schedule.load_state_dict({**self._schedule.state_dict(), **kept})
        for group, rate in zip(self._adamw.param_groups, kept["_last_lr"], strict=True):
            group["lr"] = rate

    def step(self) -> None:
        """Updates from the accumulated gradients and clears them."""
        if not self._parameters:
            return
        if self._clip is not None:
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
