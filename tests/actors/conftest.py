"""A small network on the shared MiniMUSIC."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors import DeviceConfig, InlineEngine, StationConfig
from channel_models import Link
from tokcom_core.encoders import token_width

NetworkParts = tuple[list[DeviceConfig], StationConfig]


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
def parts_of(tokens: dict[str, dict[str, Path]]) -> Callable[..., NetworkParts]:
    """Builds the configs of three devices and a base station."""

    def build(seed: int = 0) -> NetworkParts:
        width = token_width("pocket")
        devices = [
            DeviceConfig(
                name=modality,
                modality=modality,
                token_width=width,
                tokens={modality: 6},
                seed=seed,
                samples=tokens["samples"],
                features=tokens[modality],
                device="cpu",
            )
            for modality in ("audio", "vision")
        ]
        devices.append(
            DeviceConfig(
                name="text",
                modality="text",
                token_width=width,
                seed=seed,
                tokens={"question": 32, "caption": 64},
                samples=tokens["samples"],
                device="cpu",
            )
        )
        station = StationConfig(
            modalities=("audio", "vision", "text"),
            seed=seed,
            samples=tokens["samples"],
            link=Link(),
            device="cpu",
        )
        return devices, station

    return build
