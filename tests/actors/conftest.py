"""A small network on the shared MiniMUSIC."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

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
