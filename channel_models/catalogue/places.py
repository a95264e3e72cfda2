"""Airs whose users have places: cells of TR 38.901, and ray-traced sites."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from ..config import AbsolutePath, AirBase, Mobile
from ..numerology import Link
from ..sources.budget import Budget, BudgetedSource
from ..sources.raytraced import STATIONS_M, Survey, check_survey, scene_files, survey_trace
from ..sources.recorded import RecordedSource
from ..sources.source import Source
from ..users.population import PlacedPopulation, PopulationSize

_MIN_O2I_GHZ = 6.0
"""Lowest carrier with models ``low`` and ``high`` of the loss into buildings, in Sionna."""

_MAX_RMA_GHZ = 30.0
"""Highest carrier of RMa, TR 38.901 section 7.4.1."""


class Placed(Budget, Mobile, AirBase):
    """Airs whose users have places; with ``drop_seed`` each device keeps one place."""

    drop_seed: int | None = Field(default=None, ge=0)

    def without_effect(self) -> dict[str, str]:
        return {**super().without_effect(), **self.unused_budget()}

    def populate(self, source: Source, size: PopulationSize, device: str) -> Source:
        """A population whose users keep their places while their paths' phases turn."""
        if self.drop_seed is not None:
            raise ValueError(
                "the users of a population have places of their own; leave drop_seed out"
            )
        assert isinstance(source, BudgetedSource)
        carrier_hz = self.carrier_ghz * 1e9
        return source.around(
            PlacedPopulation(source.source, size, carrier_hz, self.speed_mps, device)
        )


class CellConfig(Placed):
    """Users dropped in a cell of TR 38.901: path loss, shadowing, O2I, mobility.

    With ``drop_seed`` each device keeps its place; without it every sample has a new one, and
    results are means over the cell. ``antenna_pattern`` is by default that of a TR 38.901 sector,
    and in a hall omnidirectional.
    """

    name: Literal["umi", "uma", "rma", "inh"]
    indoor_prob: float | None = Field(default=None, ge=0, le=1)
    o2i: Literal["low", "high"] = "low"
    antenna_pattern: Literal["38.901", "omni"] | None = None

    @model_validator(mode="after")
    def _has_a_path_loss(self) -> CellConfig:
        if self.name == "rma" and self.carrier_ghz > _MAX_RMA_GHZ:
            raise ValueError(
                f"air rma has a path loss for carrier_ghz of {_MAX_RMA_GHZ:g} or less (TR 38.901 "
                f"section 7.4.1), got {self.carrier_ghz:g}; take umi or uma"
            )
        return self

    @property
    def station_xy_m(self) -> tuple[float, float]:
        return 0.0, 0.0

    def without_effect(self) -> dict[str, str]:
        idle = super().without_effect()
        if self.name == "inh":
            hall = "base station and users are in the same hall"
            return {**idle, "indoor_prob": hall, "o2i": hall}
        if self.name == "rma":
            return {**idle, "o2i": "TR 38.901 has a single loss into buildings for it"}
        if self.carrier_ghz < _MIN_O2I_GHZ:
            return {
                **idle,
                "o2i": f"below {_MIN_O2I_GHZ:g} GHz the loss into buildings is that of TR 38.901 "
                f"table 7.4.3-3; take carrier_ghz of {_MIN_O2I_GHZ:g} or more",
            }
        return idle

    def source(self, link: Link, device: str) -> Source | None:
        from ..sources.cell import CellModel, CellSource

        cell = CellModel(
            scenario=self.name,
            carrier_hz=self.carrier_ghz * 1e9,
            speed_mps=self.speed_mps,
            indoor_prob=self.indoor_prob,
            o2i=self.o2i,
            antennas=link.antennas,
            antenna_pattern=self.antenna_pattern or ("omni" if self.name == "inh" else "38.901"),
        )
        return self.budgeted(CellSource(cell, self.drop_seed, device), link)


class SiteConfig(Placed):
    """A ray-traced place: one of Sionna's scenes, or ``site`` with an ``.xml`` file of one's own.

    The site is traced once, at ``positions`` places within ``radius_m`` of the base station, and
    the trace is kept in the user's cache folder. Every sample gets one of the places or, with
    ``drop_seed``, each device keeps one.
    """

    name: Literal["munich", "etoile", "florence", "san_francisco", "site"]
    scene: AbsolutePath | None = None
    station_m: tuple[float, float, float] | None = None
    radius_m: float = Field(default=150.0, gt=0)
    positions: int = Field(default=200, ge=1)
    max_depth: int = Field(default=3, ge=0, le=10)
    trace_seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _has_a_scene(self) -> SiteConfig:
        if (self.name == "site") != (self.scene is not None):
            raise ValueError("air 'site' needs 'scene', an .xml file; the named sites take none")
        if self.scene is not None and self.station_m is None:
            raise ValueError("air 'site' needs 'station_m', the place of the base station")
        return self

    @property
    def station_xy_m(self) -> tuple[float, float]:
        x_m, y_m, _ = self._station_m
        return x_m, y_m

    def files(self) -> tuple[Path, ...]:
        return () if self.scene is None else scene_files(self.scene)

    def require(self, link: Link) -> None:
        check_survey(self._survey(link))

    def prepare(self, link: Link) -> None:
        survey_trace(self._survey(link))

    def source(self, link: Link, device: str) -> Source | None:
        trace = survey_trace(self._survey(link))
        replayed = RecordedSource(trace, link.antennas, self.speed_mps, self.drop_seed, device)
        return self.budgeted(replayed, link)

    @property
    def _station_m(self) -> tuple[float, float, float]:
        return self.station_m or STATIONS_M[self.name]

    def _survey(self, link: Link) -> Survey:
        return Survey(
            scene=self.name if self.scene is None else str(self.scene),
            station_m=self._station_m,
            radius_m=self.radius_m,
            positions=self.positions,
            max_depth=self.max_depth,
            carrier_hz=self.carrier_ghz * 1e9,
            antennas=link.antennas,
            seed=self.trace_seed,
        )
