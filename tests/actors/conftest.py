"""A small network on the shared MiniMUSIC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from actors import DeviceConfig, Engine, InlineEngine, Network, StationConfig, UserPopulation
from channel_models import Link
from tokcom_core.systems import Phase, devices_of
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa

TASK = Avqa()
TOKENS = {"audio": 6, "vision": 6}
SIZES = {"align": 20, "train": 50, "val": 20, "test": 20}
"""Samples of each split that a network uses."""


@dataclass(frozen=True)
class NetworkParts:
    """What a network is made of."""

    devices: tuple[DeviceConfig, ...]
    station: StationConfig

    @property
    def served(self) -> tuple[str, ...]:
        """Streams of a question."""
        return self.station.system.served(TASK)

    def phases(self, steps: int, batch_size: int = 8) -> tuple[Phase, ...]:
        """The system's phases, shortened."""
        return tuple(
            replace(
                phase,
                training=replace(phase.training, steps=steps, learning_rate=1e-3, warmup_steps=0),
                batch_size=batch_size,
                calibration_samples=min(phase.calibration_samples, 16),
            )
            for phase in self.station.system.phases(TASK)
        )

    def network(
        self, engine: Engine | None = None, population: UserPopulation | None = None
    ) -> Network:
        """A network of them."""
        return Network(self.devices, self.station, SIZES, engine, population)


PartsOf = Callable[..., NetworkParts]


class Interrupted(InlineEngine):
    """Ctrl-C after so many answers."""

    def __init__(self, answers: int) -> None:
        self._left = answers

    def get(self, refs: Any) -> list[Any]:
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt
        return super().get(refs)


Trained = tuple[list[dict[str, float]], dict[str, torch.Tensor]]
"""Losses and weights."""


def check_resumption(
    train: Callable[[Path, Engine], Trained],
    whole: Trained,
    folder: Path,
    interrupted: Sequence[int],
) -> None:
    """A training that is interrupted and goes on ends as the ``whole`` one does.

    Args:
        train: Trains, with checkpoints in a folder, from the latest of them.
        whole: What comes of a training without interruption.
        folder: Holds a folder of checkpoints for each interruption.
        interrupted: Numbers of answers after which a training is interrupted, each for itself.
    """
    losses, state = whole
    for answers in interrupted:
        own = folder / str(answers)
        with pytest.raises(KeyboardInterrupt):
            train(own, Interrupted(answers))
        again, resumed = train(own, InlineEngine())
        assert again == losses
        for name, tensor in state.items():
            assert torch.equal(resumed[name], tensor), name


@pytest.fixture
def parts_of(tokens: dict[str, dict[str, Path]]) -> PartsOf:
    """Builds the configs of three devices and a base station."""

    def build(seed: int = 0, system: Mlms | None = None) -> NetworkParts:
        system = system or Mlms(caption_tokens=64)
        devices = tuple(
            DeviceConfig(
                name=name,
                system=system,
                task=TASK,
                tokens=TOKENS,
                seed=seed,
                samples=tokens["samples"],
                features={name: tokens[name]},
                device="cpu",
            )
            for name in devices_of(system.streams(TASK, TOKENS))
        )
        station = StationConfig(
            system=system,
            task=TASK,
            tokens=TOKENS,
            seed=seed,
            samples=tokens["samples"],
            link=Link(),
            required=("question",),
            device="cpu",
        )
        return NetworkParts(devices, station)

    return build
