"""Airs by name, as studies write them: ``rayleigh`` or ``{name: rician, k_factor_db: 6}``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from sionna.phy.channel import RayleighBlockFading

from .air import Air
from .fading import RicianBlockFading
from .flat import FlatAir
from .numerology import Link

AIRS = ("awgn", "rayleigh", "rician")


class AirConfig(BaseModel):
    """One air; ``csi: none`` leaves the receiver without the channel's gain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["awgn", "rayleigh", "rician"]
    csi: Literal["perfect", "none"] = "perfect"
    k_factor_db: float = Field(default=6.0, allow_inf_nan=False)

    @property
    def label(self) -> str:
        """Short and unique, for tables."""
        name = f"{self.name}-k{self.k_factor_db:g}" if self.name == "rician" else self.name
        return name if self.csi == "perfect" else f"{name}-nocsi"

    def build(self, link: Link, snr_db: float, device: str = "cpu") -> Air:
        """The air at an average SNR, on a torch device (``cpu``, ``cuda:0``)."""
        source = None
        if self.name == "rayleigh":
            source = RayleighBlockFading(1, 1, 1, 1, precision="single", device=device)
        elif self.name == "rician":
            source = RicianBlockFading(self.k_factor_db, device)
        return FlatAir(link, snr_db, source, self.csi == "perfect", device)


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


NamedAir = Annotated[AirConfig, BeforeValidator(_named)]
"""An :class:`AirConfig`, or just its name."""
