"""What all airs have in common in a study file."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from .air import Air
from .digital.config import DigitalConfig
from .numerology import Link
from .power import noise_power
from .reception.csi import Csi, CsiSettings, Interpolation
from .reception.equivalent import EquivalentAir
from .reception.linear import LinearAir
from .reception.varying import at_snr
from .snr import SnrRange
from .sources.sionna_1 import ServiceFactory
from .sources.source import Source
from .users.population import FreshPopulation, PopulationSize

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().resolve())]
"""A path in a configuration, made absolute: processes that read it later run in other folders."""


class AirBase(BaseModel):
    """One air.

    ``csi`` is what the receiver knows of the channel: everything (``perfect``), an estimate from
    the pilots (``estimated``; ``interpolation`` is the method between them), or nothing (``none``).
    With ``digital`` the air also carries the coded packets of streams that are sent as packets or
    files. ``fidelity: abstract`` replaces the channel of each sample's token symbols by an
    equivalent flat one (a digital link has a fidelity of its own).

    An air of one's own is a subclass with further keys and a :meth:`source`; a study names it as
    ``{name: custom, class: package.module:Class}`` with its keys.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fades: ClassVar[bool] = True
    """Whether there is a channel at all, rather than noise alone."""
    flat: ClassVar[bool] = False
    """Whether all subcarriers and symbols of a sample have the same gain."""
    UNLABELLED: ClassVar[frozenset[str]] = frozenset()
    """Keys that the label leaves out."""

    name: str = "custom"
    csi: Csi = "perfect"
    interpolation: Interpolation = "linear"
    fidelity: Literal["link", "abstract"] = "link"
    digital: DigitalConfig | None = None

    @property
    def sets_snr(self) -> bool:
        """Whether the air is built for an average SNR; if not, a link budget determines the SNR."""
        return True

    @property
    def station_xy_m(self) -> tuple[float, float] | None:
        """Where the base station stands on its users' map; None if they have no map, or unknown."""
        return None

    @property
    def label(self) -> str:
        """A short and unique name for tables, with every setting that differs from its default."""
        unusual = self.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
        custom = unusual.pop("class", None) is not None
        name = type(self).__name__.lower() if custom else self.name
        labelled = {key: value for key, value in unusual.items() if key not in self.UNLABELLED}
        return " ".join([name, *(f"{key}={value}" for key, value in labelled.items())])

    def build(
        self,
        link: Link,
        snr_db: float | SnrRange,
        device: str = "cpu",
        make_service: ServiceFactory | None = None,
        population: PopulationSize | None = None,
    ) -> Air:
        """The air on a torch device (``cpu``, ``cuda:0``).

        Args:
            link: The band, how it is shared, the antennas.
            snr_db: Average receive SNR of an antenna, for airs that take one; from a range, one is
                drawn for every interval.
            device: Torch device.
            make_service: Makes the service behind ``backend: tensorflow``, for airs that have it.
            population: Users to put behind the air; the frames must then name their members.

        Raises:
            ValueError: for a number that is not an SNR, or settings whose signals cannot be
                received.
        """
        self.check(link)
        one = source = self.served_source(link, device, make_service)
        if one is not None and population is not None:
            source = self.populate(one, population, device)

        sets_snr = self.sets_snr
        usual = LinearAir(link, 1.0, source, self.csi_settings, device, one)

        def at(mean_db: float) -> Air:
            linear = usual.at(noise_power(mean_db)) if sets_snr else usual
            analog = EquivalentAir(linear, device) if self.fidelity == "abstract" else linear
            if self.digital is None:
                return analog
            from .digital.air import DigitalAir

            return DigitalAir(linear, analog, self.digital, device)

        return at_snr(at, snr_db)

    def check(self, link: Link) -> None:
        """Raises ValueError for signals that cannot be received, or settings without effect.

        It builds nothing.
        """
        self.check_effects()
        self.csi_settings.check(link, self.fades)
        if self.csi == "none" and not self.sets_snr:
            raise ValueError(
                "csi none takes symbols as they are received, but the link budget of air "
                f"{self.name} sets their power; take csi perfect or estimated"
            )
        if self.csi == "none" and self.fidelity == "abstract":
            raise ValueError("fidelity abstract stands for an equaliser; csi none has none")
        if self.csi == "none" and self.digital is not None:
            raise ValueError("a digital link demodulates with CSI; take csi perfect or estimated")

    def without_effect(self) -> dict[str, str]:
        """Keys that change nothing beside the air's other settings, each with the reason."""
        if self.csi == "estimated":
            return {}
        return {"interpolation": f"csi {self.csi} estimates nothing; take csi estimated"}

    def check_effects(self) -> None:
        """Raises ValueError for keys without effect that are not at their defaults."""
        changed = self.model_dump(exclude_defaults=True)
        idle = {key: why for key, why in self.without_effect().items() if key in changed}
        if not idle:
            return
        reason = next(iter(idle.values()))
        keys = ", ".join(key for key, why in idle.items() if why == reason)
        raise ValueError(f"air {self.name} takes no {keys}: {reason}")

    @property
    def csi_settings(self) -> CsiSettings:
        """What the base station's receiver knows of the channel."""
        return CsiSettings(self.csi, self.interpolation)

    def relevant_link(self, link: Link) -> Link:
        """The part of a link that affects the channel.

        A study trains only once for links that agree in this part.
        """
        alone = self.flat and self.csi != "estimated" and link.access != "sdma"
        if alone and self.digital is None:
            return Link(antennas=link.antennas)
        return link

    def files(self) -> tuple[Path, ...]:
        """Files whose content determines the channels, and which no key has a digest of."""
        return ()

    def require(self, link: Link) -> None:
        """Raises ValueError at once if this machine lacks what the air needs, such as LLVM."""

    def prepare(self, link: Link) -> None:
        """Computes in advance what this air computes once and keeps, such as a ray-traced site."""

    def populate(self, source: Source, size: PopulationSize, device: str) -> Source:
        """A population of users who meet this air's channels."""
        return FreshPopulation(source, size)

    @abstractmethod
    def source(self, link: Link, device: str) -> Source | None:
        """The source of its channels; None for noise alone."""

    def served_source(
        self, link: Link, device: str, make_service: ServiceFactory | None
    ) -> Source | None:
        """The source, or one of channels that a service computes, where the air asks for that."""
        return self.source(link, device)

    @model_serializer(mode="wrap")
    def _with_class(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Adds the class of an air of one's own, so that the air can be made again."""
        dumped: dict[str, Any] = dump(self)
        if self.name == "custom":
            dumped["class"] = f"{type(self).__module__}:{type(self).__qualname__}"
        return dumped


class Mobile(BaseModel):
    """What airs with a carrier and moving users have in common."""

    carrier_ghz: float = Field(default=3.5, ge=0.5, le=100)
    speed_mps: float = Field(default=0.0, ge=0, le=500)
