"""Split-federated training: every user has a transmitter of its own; they are averaged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import Field
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.func import functional_call

from tokcom_core.config import Config
from tokcom_core.systems import Phase, Stream, Transmitter

from ..messages import StreamRequest, at_one_width
from .optimiser import Optimiser

WEIGHT_BITS = 32


class Federation(Config):
    """Federated averaging of users' transmitters: sample i belongs to user i mod ``users``.

    Attributes:
        users: Number of users, each with samples and transmitters of its own.
        synchronise_every: Number of rounds between averages, which are weighted by the samples
            that each user has trained on since the last one.
    """

    users: int = Field(ge=2)
    synchronise_every: int = Field(default=10, ge=1)

    def exchanged_bits(self, weights: int, rounds: int) -> float:
        """Bits of the weights that all users exchange with the base station, up and down."""
        times = -(-rounds // self.synchronise_every)
        return 2.0 * WEIGHT_BITS * weights * self.users * times


class UserModels:
    """The transmitters of all users' devices of one name, and their optimisers.

    Args:
        federation: Number of users and rounds between averages.
        common: Transmitter that all users begin with; holds the latest average.
    """

    def __init__(self, federation: Federation, common: Transmitter) -> None:
        self._federation = federation
        self._common = {n: p for n, p in common.named_parameters() if p.requires_grad}
        self._transmitter = common
        self._copies = [
            {n: nn.Parameter(p.detach().clone()) for n, p in self._common.items()}
            for _ in range(federation.users)
        ]
        self._optimisers: list[Optimiser] = []
        self._trained_on = torch.zeros(federation.users, dtype=torch.float64)
        self._owners: dict[str, Tensor] = {}
        self._rounds_left = 0

    def begin(self, phase: Phase) -> None:
        """Begins a phase: all users start from the common weights, with fresh optimisers."""
        learning = {id(p) for p in self._transmitter.trainable(phase.name)}
        names = [name for name, p in self._common.items() if id(p) in learning]
        self._set_all(self._common)
        for parameter in (p for copy in self._copies for p in copy.values()):
            parameter.grad = None
        self._optimisers = [
            Optimiser([copy[name] for name in names], phase.training) for copy in self._copies
        ]
        self._trained_on.zero_()
        self._rounds_left = phase.training.steps

    def transmit(
        self, request: StreamRequest, stream: Stream, *inputs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sends each sample through its user's transmitter, see :meth:`Transmitter.forward`."""
        owner = torch.tensor(request.rows) % self._federation.users
        order = torch.argsort(owner, stable=True)
        users, counts = owner[order].unique_consecutive(return_counts=True)
        sent = [
            functional_call(
                self._transmitter, self._copies[user], (stream.name, *(x[where] for x in inputs))
            )
            for user, where in zip(users.tolist(), order.split(counts.tolist()), strict=True)
        ]
        self._owners[stream.name] = owner
        back = torch.argsort(order)
        symbols, valid = (at_one_width(parts, stream)[back] for parts in zip(*sent, strict=True))
        return symbols, valid

    def count_trained(self, stream: str, gradient: Tensor) -> None:
        """Counts the samples of the last batch of a stream that have a gradient ``[B, N]``.

        Those that were muted or lost have none: their users have not trained on them.
        """
        trained = self._owners.pop(stream)[gradient.detach().cpu().abs().sum(1) > 0]
        self._trained_on += torch.bincount(trained, minlength=self._federation.users)

    def step(self) -> None:
        """Steps all optimisers and schedules, and averages when it is time."""
        for optimiser in self._optimisers:
            optimiser.step()
        self._rounds_left -= 1
        if self._rounds_left % self._federation.synchronise_every == 0 or self._rounds_left == 0:
            self._synchronise()

    def _synchronise(self) -> None:
        """Sets all users to the weighted average of their weights; does nothing if none trained."""
        if not self._trained_on.any():
            return
        fraction = (self._trained_on / self._trained_on.sum()).float()
        average = {
            name: torch.einsum(
                "u,u...->...",
                fraction.to(common.device),
                torch.stack([copy[name].detach() for copy in self._copies]),
            )
            for name, common in self._common.items()
        }
        self._set_all(average)
        for name, common in self._common.items():
            common.data.copy_(average[name])
        self._trained_on.zero_()

    def _set_all(self, values: Mapping[str, Tensor]) -> None:
        for copy in self._copies:
            for name, parameter in copy.items():
                parameter.data.copy_(values[name])

    def checkpoint(self, folder: Path, name: str) -> None:
        """Saves every user's weights and optimiser."""
        tensors = {
            f"{user}.{key}": value.detach().cpu().contiguous()
            for user, copy in enumerate(self._copies)
            for key, value in copy.items()
        }
        about = {"trained_on": self._trained_on.tolist(), "rounds_left": self._rounds_left}
        save_file(tensors, folder / f"{name}-users.safetensors", {"about": json.dumps(about)})
        for user, optimiser in enumerate(self._optimisers):
            optimiser.save(folder / f"{name}-optimiser-{user}.safetensors")

    def restore(self, folder: Path, name: str) -> None:
        """Restores what :meth:`checkpoint` saved."""
        with safe_open(folder / f"{name}-users.safetensors", "pt") as stored:
            for user, copy in enumerate(self._copies):
                for key, parameter in copy.items():
                    parameter.data.copy_(stored.get_tensor(f"{user}.{key}"))
            about = json.loads(stored.metadata()["about"])
        self._trained_on = torch.tensor(about["trained_on"], dtype=torch.float64)
        self._rounds_left = about["rounds_left"]
        for user, optimiser in enumerate(self._optimisers):
            optimiser.load(folder / f"{name}-optimiser-{user}.safetensors")
