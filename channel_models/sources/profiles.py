"""Sionna 2's delay-line channels of TR 38.901, and the antenna arrays at their ends."""

from __future__ import annotations

from typing import Any

from ..sionna_api import CDL, TDL, PanelArray
from .delay_line import DelayLine
from .rays import RaySum
from .source import SionnaSource, Source


def delay_line_source(line: DelayLine, device: str) -> Source:
    """Sionna 2's channels of a profile, in the uplink, on a torch device."""
    if line.family == "tdl":
        model = TDL(
            line.profile.upper(),
            line.delay_spread_s,
            line.carrier_hz,
            min_speed=line.speed_mps,
            num_rx_ant=line.antennas,
            precision="single",
            device=device,
        )
    else:
        model = _Cdl(
            line.profile.upper(),
            line.delay_spread_s,
            line.carrier_hz,
            ut_array=linear_array(1, line.carrier_hz, device),
            bs_array=linear_array(line.antennas, line.carrier_hz, device),
            direction="uplink",
            min_speed=line.speed_mps,
            max_speed=line.speed_mps,
            precision="single",
            device=device,
        )
    return SionnaSource(model, static=line.static)


class _Cdl(CDL):  # type: ignore[misc]
    """Sionna's CDL, with its rays added up by :class:`~.rays.RaySum`."""

    def __init__(self, *arguments: Any, **keys: Any) -> None:
        super().__init__(*arguments, **keys)
        self._cir_gen = RaySum(
            self._carrier_frequency,
            tx_array=self._tx_array,
            rx_array=self._rx_array,
            subclustering=False,
            precision=self.precision,
            device=self.device,
        )


def linear_array(
    antennas: int, carrier_hz: float, device: str, pattern: str = "omni"
) -> PanelArray:
    """A row of vertically polarised elements, half a wavelength apart."""
    return PanelArray(
        num_rows_per_panel=1,
        num_cols_per_panel=antennas,
        polarization="single",
        polarization_type="V",
        antenna_pattern=pattern,
        carrier_frequency=carrier_hz,
        precision="single",
        device=device,
    )
