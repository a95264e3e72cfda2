"""What all airs have in common in a study file."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from .air import Air
from .digital.packets import DigitalAir, DigitalConfig
from .numerology import Link
from .power import noise_power
from .reception.equivalent import EquivalentAir
from .reception.estimation import Interpolation
from .reception.linear import Csi, LinearAir, check_receivable
from .sources.fading import DelayLine
from .sources.source import Source
from .sources.tensorflow import ServiceFactory
from .users.population import FreshPopulation, PopulationSize

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]
"""Of a config: other processes, which read it later, have other current folders."""


class AirBase(BaseModel):
    """One air.

    ``csi`` is what the receiver knows of the channel: all of it, what the pilots tell
    (``interpolation`` between them), or nothing. With ``digital`` it carries coded packets
    instead of token symbols. ``fidelity: abstract`` gives each sample's token symbols their
    equivalent flat channel (a digital link has a fidelity of its own).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    csi: Csi = "perfect"
    interpolation: Interpolation = "linear"
    fidelity: Literal["link", "abstract"] = "link"
    digital: DigitalConfig | None = None

    @property
    def sets_snr(self) -> bool:
        """Whether an average SNR is asked of this air; otherwise it follows from a link budget."""
        return True

    @property
    def label(self) -> str:
        """Short and unique, for tables: the name, and whatever is not as usual."""
        unusual = self.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
        return " ".join([self.name, *(f"{key}={value}" for key, value in unusual.items())])

    def build(
        self,
        link: Link,
        snr_db: float,
        device: str = "cpu",
        tensorflow: ServiceFactory | None = None,
        crowd: PopulationSize | None = None,
    ) -> Air:
        """The air on a torch device (``cpu``, ``cuda:0``).

        Args:
            link: the band, how it is shared, the antennas.
            snr_db: average receive SNR of an antenna, where the air takes one.
            device: torch device.
            tensorflow: makes the service behind ``backend: tensorflow``.
            crowd: puts so many users behind the air; its frames then name their members.

        Raises:
            ValueError: for what is not an SNR, or combinations that cannot be received.
        """
        self.check(link)
        n0 = noise_power(snr_db) if self.sets_snr else 1.0
        source = self.source(link, device, tensorflow)
        if source is not None and crowd is not None:
            source = self.gather(source, crowd, device)
        linear = LinearAir(link, n0, source, self.csi, self.interpolation, device)
        if self.digital is not None:
            return DigitalAir(linear, self.digital, device)
        return EquivalentAir(linear, device) if self.fidelity == "abstract" else linear

    def check(self, link: Link) -> None:
        """Raises ValueError for combinations that cannot be received, before anything is built."""
        check_receivable(link, self.csi, self.fades)
        if self.csi == "none" and self.fidelity == "abstract":
            raise ValueError("fidelity abstract stands for an equaliser; csi none has none")
        if self.csi == "none" and self.digital is not None:
            raise ValueError("a digital link demodulates with CSI; take csi perfect or estimated")

    @property
    def fades(self) -> bool:
        """Whether there is a channel at all, rather than noise alone."""
        return True

    def matters(self, link: Link) -> Link:
        """What of a link shapes the channel; stages of links that are alike here are shared."""
        alone = self.flat and self.csi != "estimated" and link.access != "sdma"
        if alone and self.digital is None:
            return Link(antennas=link.antennas)
        return link

    @property
    def flat(self) -> bool:
        """Whether all subcarriers and symbols of a sample have the same gain."""
        return False

    def prepare(self, link: Link) -> None:
        """Computes whatever this air computes once and keeps, such as a ray-traced site."""

    def gather(self, source: Source, crowd: PopulationSize, device: str) -> Source:
        """A crowd of users who meet this air's channels."""
        return FreshPopulation(source, crowd)

    @abstractmethod
    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        """Where its channels come from; None for noise alone."""


class Mobile(BaseModel):
    """What airs with a carrier and moving users have in common."""

    name: str
    carrier_ghz: float = Field(default=3.5, ge=0.5, le=100)
    speed_mps: float = Field(default=0.0, ge=0, le=500)

    def delay_line(self, delay_spread_s: float | None, link: Link) -> DelayLine:
        """The profile that an air such as ``tdl-a`` is named after."""
        family, profile = self.name.split("-")
        return DelayLine(
            family,
            profile,
            delay_spread_s,
            self.carrier_ghz * 1e9,
            self.speed_mps,
            link.antennas,
        )
