"""Delay-line profiles over OFDM."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..config import AirBase, Mobile
from ..numerology import Link
from ..sources.delay_line import DelayLine
from ..sources.sionna_1 import BankedSource, ServiceFactory
from ..sources.source import Source


class DelayProfileConfig(Mobile, AirBase):
    """Tapped or clustered delay line over OFDM, TR 38.901 section 7.7; ``cdl`` has angles.

    ``backend`` is Sionna 2 (``torch``) or, in an isolated actor, Sionna 1.x (``tensorflow``).
    """

    name: Literal[
        "tdl-a", "tdl-b", "tdl-c", "tdl-d", "tdl-e", "cdl-a", "cdl-b", "cdl-c", "cdl-d", "cdl-e"
    ]
    delay_spread_ns: float = Field(default=100.0, gt=0, le=5000)
    backend: Literal["torch", "tensorflow"] = "torch"

    def source(self, link: Link, device: str) -> Source | None:
        if self.backend == "tensorflow":
            raise ValueError("backend tensorflow needs Ray: it runs in a study or a Network")
        return _sionna_source(self._line(link), device)

    def served_source(
        self, link: Link, device: str, make_service: ServiceFactory | None
    ) -> Source | None:
        if self.backend == "torch" or make_service is None:
            return self.source(link, device)
        line = self._line(link)
        return BankedSource(make_service(line), static=line.static, device=device)

    def _line(self, link: Link) -> DelayLine:
        return _delay_line(self, self.delay_spread_ns * 1e-9, link)


class FixedDelayProfileConfig(Mobile, AirBase):
    """Tapped delay line with the delays of TS 38.101-4, annex B.2.1."""

    name: Literal["tdl-a10", "tdl-a30", "tdl-b100", "tdl-c60", "tdl-c300", "tdl-d10", "tdl-d30"]

    def source(self, link: Link, device: str) -> Source | None:
        return _sionna_source(_delay_line(self, None, link), device)


def _delay_line(
    air: DelayProfileConfig | FixedDelayProfileConfig, delay_spread_s: float | None, link: Link
) -> DelayLine:
    """The profile that an air such as ``tdl-a`` is named after."""
    family, profile = air.name.split("-")
    return DelayLine(
        family, profile, delay_spread_s, air.carrier_ghz * 1e9, air.speed_mps, link.antennas
    )


def _sionna_source(line: DelayLine, device: str) -> Source:
    from ..sources.profiles import delay_line_source

    return delay_line_source(line, device)
