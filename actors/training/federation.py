"""Split-federated training: every user has a projection of its own, averaged now and then."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from tokcom_core.transceiver import TokenTransmitter

from ..messages import Training
from .optimiser import Optimiser

WEIGHT_BITS = 32


class Federation(BaseModel):
    """How many users train, each on its own samples: sample i belongs to user i mod ``users``.

    Every ``synchronise_every`` rounds their projections F_m are averaged, weighted by the samples
    that each has trained on since.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(ge=2)
    synchronise_every: int = Field(default=10, ge=1)

    def exchanged_bits(self, weights: int, rounds: int) -> float:
        """Weights that users and base station exchange in training, up and down, all users'."""
        times = -(-rounds // self.synchronise_every)
        return 2.0 * WEIGHT_BITS * weights * self.users * times


class UserProjections:
    """The projections of all users' devices of one modality, and their optimisers.

    Args:
        federation: how many, and when they are averaged.
        common: what they all begin with; takes the average at every synchronisation.
    """

    def __init__(self, federation: Federation, common: TokenTransmitter) -> None:
        self._federation = federation
        self._common = common
        self._own = [deepcopy(common) for _ in range(federation.users)]
        self._optimisers: list[Optimiser] = []
        self._trained_on = torch.zeros(federation.users, dtype=torch.float64)
        self._rounds_left = 0

    def start(self, training: Training) -> None:
        """Begins a stage: everybody from the common projection, with a fresh optimiser."""
        for own in self._own:
            own.load_state_dict(self._common.state_dict())
        self._optimisers = [Optimiser(own.parameters(), training) for own in self._own]
        self._trained_on.zero_()
        self._rounds_left = training.steps

    def transmit(self, tokens: Tensor, valid: Tensor, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Each sample through its user's projection; see :class:`TokenTransmitter`."""
        owner = torch.tensor(rows) % self._federation.users
        order = torch.argsort(owner, stable=True)
        users, counts = owner[order].unique_consecutive(return_counts=True)
        sent = [
            self._own[user](tokens[where], valid[where])
            for user, where in zip(users.tolist(), order.split(counts.tolist()), strict=True)
        ]
        self._trained_on += torch.bincount(owner, minlength=self._federation.users)
        back = torch.argsort(order)
        symbols, valid_symbols = (torch.cat(parts)[back] for parts in zip(*sent, strict=True))
        return symbols, valid_symbols

    def step(self) -> None:
        """Steps the optimisers of those with gradients, and everybody's schedule."""
        for optimiser in self._optimisers:
            optimiser.step()
        self._rounds_left -= 1
        if self._rounds_left % self._federation.synchronise_every == 0 or self._rounds_left == 0:
            self._synchronise()

    def _synchronise(self) -> None:
        """Weighted average of all projections, back to everybody; nothing if nobody trained."""
        if not self._trained_on.any():
            return
        share = (self._trained_on / self._trained_on.sum()).float()
        states = [own.state_dict() for own in self._own]
        average = {
            name: torch.einsum(
                "u,u...->...", share.to(value.device), torch.stack([s[name] for s in states])
            )
            for name, value in self._common.state_dict().items()
        }
        for module in (self._common, *self._own):
            module.load_state_dict(average)
        self._trained_on.zero_()

    def checkpoint(self, folder: Path, name: str) -> None:
        """Saves every user's projection and optimiser."""
        tensors = {
            f"{user}.{key}": value.detach().cpu().contiguous()
            for user, own in enumerate(self._own)
            for key, value in own.state_dict().items()
        }
        about = {"trained_on": self._trained_on.tolist(), "rounds_left": self._rounds_left}
        save_file(tensors, folder / f"{name}-users.safetensors", {"about": json.dumps(about)})
        for user, optimiser in enumerate(self._optimisers):
            optimiser.save(folder / f"{name}-optimiser-{user}.safetensors")

    def restore(self, folder: Path, name: str) -> None:
        """Goes back to what :meth:`checkpoint` saved."""
        with safe_open(folder / f"{name}-users.safetensors", "pt") as stored:
            for user, own in enumerate(self._own):
                own.load_state_dict(
                    {key: stored.get_tensor(f"{user}.{key}") for key in own.state_dict()}
                )
            about = json.loads(stored.metadata()["about"])
        self._trained_on = torch.tensor(about["trained_on"], dtype=torch.float64)
        self._rounds_left = about["rounds_left"]
        for user, optimiser in enumerate(self._optimisers):
            optimiser.load(folder / f"{name}-optimiser-{user}.safetensors")
