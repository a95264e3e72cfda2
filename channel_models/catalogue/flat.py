"""Flat airs: noise alone, and block fading."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from ..config import AirBase
from ..numerology import Link
from ..sources.fading import BlockFading
from ..sources.source import Source


class AwgnConfig(AirBase):
    """Noise alone."""

    fades: ClassVar[bool] = False
    flat: ClassVar[bool] = True

    name: Literal["awgn"] = "awgn"

    def source(self, link: Link, device: str) -> Source | None:
        return None


class RayleighConfig(AirBase):
    """Block fading, one complex Gaussian gain a sample and antenna."""

    flat: ClassVar[bool] = True

    name: Literal["rayleigh"] = "rayleigh"

    def source(self, link: Link, device: str) -> Source | None:
        return BlockFading(link.antennas, float("-inf"), device)


class RicianConfig(AirBase):
    """Block fading with a line of sight."""

    flat: ClassVar[bool] = True

    name: Literal["rician"] = "rician"
    k_factor_db: float = Field(default=6.0, ge=-100, le=100)

    def source(self, link: Link, device: str) -> Source | None:
        return BlockFading(link.antennas, self.k_factor_db, device)
