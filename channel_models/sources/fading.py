"""Fading without a place: block fading, and the delay-line profiles of TR 38.901."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from sionna.phy import PI
from sionna.phy.channel.tr38901 import CDL, TDL, PanelArray

from .rays import RaySum
from .source import Realisation, Request, SionnaSource, Source


class BlockFading(Source):
    """One path a sample: Rayleigh, or Rician with a line of sight of random angle; E|h|^2 = 1.

    Args:
        antennas: of the base station, a uniform linear array of half-wavelength spacing.
        k_factor_db: power of the line of sight over that of the scattered part; -inf is Rayleigh.
        device: torch device of the realisations.
    """

    static = True
    flat = True

    def __init__(self, antennas: int, k_factor_db: float, device: str) -> None:
        k = 10.0 ** (k_factor_db / 10.0)
        self._line_of_sight = math.sqrt(k / (1.0 + k))
        self._scattered = math.sqrt(1.0 / (1.0 + k))
        self._antennas = antennas
        self._device = device

    def realise(self, request: Request) -> Realisation:
        generator = torch.Generator(self._device).manual_seed(request.seed)
        shape = (request.batch, self._antennas, 1, 1)
        gains = self._scattered * torch.randn(
            shape, dtype=torch.complex64, device=self._device, generator=generator
        )
        if self._line_of_sight:
            start, angle = (
                2
                * PI
                * torch.rand((2, request.batch, 1, 1, 1), device=self._device, generator=generator)
            )
            element = torch.arange(self._antennas, device=self._device)[:, None, None]
            phase = start + PI * element * torch.sin(angle)
            gains = gains + self._line_of_sight * torch.polar(torch.ones_like(phase), phase)
        delays = torch.zeros(1, 1, device=self._device)
        return Realisation(gains.expand(-1, -1, -1, request.steps), delays)


@dataclass(frozen=True)
class DelayLine:
    """A profile of TR 38.901 section 7.7, or of TS 38.101-4 annex B.2.1.

    Attributes:
        family: ``tdl``, tapped, its antennas uncorrelated, or ``cdl``, clustered, the antennas a
            row of omnidirectional elements half a wavelength apart.
        profile: ``a`` to ``e``, or a fixed one such as ``a30``.
        delay_spread_s: RMS delay spread; None for the fixed profiles, which have their own.
        carrier_hz: carrier frequency.
        speed_mps: of the user, for the Doppler spread.
        antennas: of the base station.
    """

    family: str
    profile: str
    delay_spread_s: float | None
    carrier_hz: float
    speed_mps: float
    antennas: int

    @property
    def static(self) -> bool:
        return self.speed_mps == 0


def delay_line(line: DelayLine, device: str) -> Source:
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
            ut_array=array(1, line.carrier_hz, device),
            bs_array=array(line.antennas, line.carrier_hz, device),
            direction="uplink",
            min_speed=line.speed_mps,
            max_speed=line.speed_mps,
            precision="single",
            device=device,
        )
    return SionnaSource(model, static=line.static)


class _Cdl(CDL):  # type: ignore[misc]
    """Sionna's, with its rays added up by :class:`~channel_models.sources.rays.RaySum`."""

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


def array(antennas: int, carrier_hz: float, device: str, pattern: str = "omni") -> PanelArray:
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
