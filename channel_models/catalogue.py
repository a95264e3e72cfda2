"""Airs by name, as studies write them: ``rayleigh`` or ``{name: tdl-a, speed_mps: 30}``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from .air import Air
from .config import AbsolutePath, AirBase, Mobile
from .numerology import Link
from .power import noise_power
from .reception.tensorflow import TensorflowAir, load_channel
from .sources.budget import Budget, BudgetedSource
from .sources.cell import CellSource
from .sources.fading import BlockFading, delay_line
from .sources.raytraced import STATIONS_M, Survey, survey_trace
from .sources.recorded import RecordedSource, read_trace
from .sources.source import Source
from .sources.tensorflow import BankedSource, ServiceFactory
from .users.population import PlacedPopulation, PopulationSize


class Awgn(AirBase):
    """Noise alone."""

    name: Literal["awgn"] = "awgn"

    @property
    def fades(self) -> bool:
        return False

    @property
    def flat(self) -> bool:
        return True

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        return None


class Rayleigh(AirBase):
    """Block fading, one complex Gaussian gain a sample and antenna."""

    name: Literal["rayleigh"] = "rayleigh"

    @property
    def flat(self) -> bool:
        return True

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        return BlockFading(link.antennas, float("-inf"), device)


class Rician(AirBase):
    """Block fading with a line of sight."""

    name: Literal["rician"] = "rician"
    k_factor_db: float = Field(default=6.0, allow_inf_nan=False)

    @property
    def flat(self) -> bool:
        return True

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        return BlockFading(link.antennas, self.k_factor_db, device)


class DelayProfile(Mobile, AirBase):
    """Tapped or clustered delay line over OFDM, TR 38.901 section 7.7; ``cdl`` has angles.

    ``backend`` is Sionna 2 (``torch``) or, in an isolated actor, Sionna 1.x (``tensorflow``).
    """

    name: Literal[
        "tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e", "cdl-a", "cdl-b", "cdl-c", "cdl-d", "cdl-e"
    ]
    delay_spread_ns: float = Field(default=100.0, gt=0, le=5000)
    backend: Literal["torch", "tensorflow"] = "torch"

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        line = self.delay_line(self.delay_spread_ns * 1e-9, link)
        if self.backend == "torch":
            return delay_line(line, device)
        if tensorflow is None:
            raise ValueError("backend tensorflow needs Ray: it runs in a study or a Network")
        return BankedSource(tensorflow(line), static=line.static, device=device)


class FixedDelayProfile(Mobile, AirBase):
    """Tapped delay line with the delays of TS 38.101-4, annex B.2.1."""

    name: Literal["tdl-a10", "tdl-a30", "tdl-b100", "tdl-c60", "tdl-c300", "tdl-d10", "tdl-d30"]

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        return delay_line(self.delay_line(None, link), device)


class Placed(Budget, Mobile):
    """What airs whose users have places have in common; ``drop_seed`` keeps each device's."""

    drop_seed: int | None = Field(default=None, ge=0)

    def gather(self, source: Source, crowd: PopulationSize, device: str) -> Source:
        """A crowd whose users keep their places while their paths' phases turn."""
        if self.drop_seed is not None:
            raise ValueError("the users of a crowd have places of their own; leave drop_seed out")
        assert isinstance(source, BudgetedSource)
        carrier_hz = self.carrier_ghz * 1e9
        return source.around(
            PlacedPopulation(source.source, crowd, carrier_hz, self.speed_mps, device)
        )


class Cell(Placed, AirBase):
    """Users dropped in a cell of TR 38.901: path loss, shadowing, O2I, mobility.

    ``drop_seed`` lets each device keep its place; without it every sample has a new one, and
    results are means over the cell.
    """

    name: Literal["umi", "uma", "rma", "inh"]
    indoor_prob: float | None = Field(default=None, ge=0, le=1)
    o2i: Literal["low", "high"] = "low"
    antenna_pattern: Literal["38.901", "omni"] = "38.901"

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        cell = CellSource(
            self.name,
            self.carrier_ghz * 1e9,
            self.speed_mps,
            self.indoor_prob,
            self.o2i,
            self.drop_seed,
            link.antennas,
            self.antenna_pattern,
            device,
        )
        return self.budgeted(cell, link)


class Site(Placed, AirBase):
    """A ray-traced place: one of Sionna's scenes, or ``site`` with an ``.xml`` file of one's own.

    The site is traced once, at ``positions`` places within ``radius_m`` of the base station, and
    the trace is kept in the user's cache folder; every sample meets one of the places, or, with
    ``drop_seed``, each device keeps its own.
    """

    name: Literal["munich", "etoile", "florence", "san_francisco", "site"]
    scene: AbsolutePath | None = None
    station_m: tuple[float, float, float] | None = None
    radius_m: float = Field(default=150.0, gt=0)
    positions: int = Field(default=200, ge=1)
    max_depth: int = Field(default=3, ge=0, le=10)
    trace_seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_a_scene(self) -> Site:
        if (self.name == "site") != (self.scene is not None):
            raise ValueError("air 'site' needs 'scene', an .xml file; the named sites take none")
        if self.scene is not None and self.station_m is None:
            raise ValueError("air 'site' needs 'station_m', the place of the base station")
        return self

    def prepare(self, link: Link) -> None:
        survey_trace(self._survey(link))

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        trace = survey_trace(self._survey(link))
        replayed = RecordedSource(trace, link.antennas, self.speed_mps, self.drop_seed, device)
        return self.budgeted(replayed, link)

    def _survey(self, link: Link) -> Survey:
        return Survey(
            scene=self.name if self.scene is None else str(self.scene),
            station_m=self.station_m or STATIONS_M[self.name],
            radius_m=self.radius_m,
            positions=self.positions,
            max_depth=self.max_depth,
            carrier_hz=self.carrier_ghz * 1e9,
            antennas=link.antennas,
            seed=self.trace_seed,
        )


class Recorded(Budget, AirBase):
    """Realisations replayed from a file that ``tokcom air record`` or :class:`Trace` wrote.

    ``sha256`` of the file is filled in, so that a study knows when the file has changed.
    """

    name: Literal["recorded"] = "recorded"
    file: AbsolutePath
    sha256: str = ""

    @model_validator(mode="before")
    @classmethod
    def _digest(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and isinstance(raw.get("file"), str | Path):
            file = Path(raw["file"]).expanduser()
            if not file.is_file():
                raise ValueError(f"no trace {file}; 'tokcom air record' makes one")
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if raw.get("sha256") not in (None, "", found):
                raise ValueError(f"the trace {file} has changed since the study began")
            return {**raw, "sha256": found}
        return raw

    @property
    def sets_snr(self) -> bool:
        return not read_trace(self.file).physical

    @property
    def label(self) -> str:
        return f"recorded {self.file.stem}"

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        trace = read_trace(self.file)
        replayed = RecordedSource(trace, link.antennas, device=device)
        if not trace.physical:
            return replayed
        return self.budgeted(replayed, link)


class Tensorflow(AirBase):
    """A channel of one's own in TensorFlow, ``function: package.module:function``."""

    name: Literal["tensorflow"] = "tensorflow"
    function: str

    def check(self, link: Link) -> None:
        alone = link.antennas == 1 and link.access != "sdma"
        if self.csi != "perfect" or self.digital is not None or not alone:
            raise ValueError("air tensorflow takes neither csi, digital nor several antennas")

    def source(
        self, link: Link, device: str, tensorflow: ServiceFactory | None = None
    ) -> Source | None:
        return None

    def build(
        self,
        link: Link,
        snr_db: float,
        device: str = "cpu",
        tensorflow: ServiceFactory | None = None,
        crowd: PopulationSize | None = None,
    ) -> Air:
        self.check(link)
        return TensorflowAir(link, noise_power(snr_db), load_channel(self.function))


AirConfig = (
    Awgn
    | Rayleigh
    | Rician
    | DelayProfile
    | FixedDelayProfile
    | Cell
    | Site
    | Recorded
    | Tensorflow
)

AIRS: dict[str, type[AirBase]] = {
    name: config
    for config in get_args(AirConfig)
    for name in get_args(config.model_fields["name"].annotation)
}
"""Every air by name, with its configuration."""


def _named(value: Any) -> Any:
    raw = {"name": value} if isinstance(value, str) else value
    name = raw.get("name") if isinstance(raw, dict) else getattr(raw, "name", None)
    if isinstance(raw, dict) and name not in AIRS:
        raise ValueError(f"no air {name!r}; take some of {', '.join(AIRS)}")
    return raw


NamedAir = Annotated[
    Annotated[AirConfig, Field(discriminator="name")],
    BeforeValidator(_named),
]
"""An :data:`AirConfig`, or just its name."""

_ADAPTER: TypeAdapter[AirConfig] = TypeAdapter(NamedAir)


def named_air(name: str, **settings: Any) -> AirConfig:
    """An air by name: ``named_air("tdl-a", speed_mps=30)``.

    Raises:
        ValueError: for an unknown name or setting.
    """
    return _ADAPTER.validate_python({"name": name, **settings})
