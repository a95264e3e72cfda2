"""Fading without a place: block fading, and the delay-line profiles of TR 38.901."""

from __future__ import annotations

import math

import torch
from sionna.phy import PI
from sionna.phy.channel.tr38901 import CDL, TDL, PanelArray

from .source import Realisation, Request, SionnaSource, Source

SCALABLE_PROFILES = ("a", "b", "c", "d", "e")
FIXED_TDL_PROFILES = ("a10", "a30", "b100", "c60", "c300", "d10", "d30")


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


def tdl(
    profile: str,
    delay_spread_s: float,
    carrier_hz: float,
    speed_mps: float,
    antennas: int,
    device: str,
) -> Source:
    """A tapped delay line, TR 38.901 section 7.7.2 and TS 38.101-4 annex B.2.1.

    Args:
        profile: one of :data:`SCALABLE_PROFILES` or :data:`FIXED_TDL_PROFILES`.
        delay_spread_s: RMS delay spread; the fixed profiles have their own.
        carrier_hz: carrier frequency.
        speed_mps: of the user, for the Doppler spread.
        antennas: of the base station, uncorrelated.
        device: torch device of the realisations.
    """
    model = TDL(
        profile.upper(),
        None if profile in FIXED_TDL_PROFILES else delay_spread_s,
        carrier_hz,
        min_speed=speed_mps,
        num_rx_ant=antennas,
        precision="single",
        device=device,
    )
    return SionnaSource(model, static=speed_mps == 0)


def cdl(
    profile: str,
    delay_spread_s: float,
    carrier_hz: float,
    speed_mps: float,
    antennas: int,
    device: str,
) -> Source:
    """A clustered delay line, TR 38.901 section 7.7.1, in the uplink; arguments as of :func:`tdl`.

    The base station has a row of omnidirectional elements half a wavelength apart.
    """
    model = CDL(
        profile.upper(),
        delay_spread_s,
        carrier_hz,
        ut_array=array(1, carrier_hz, device),
        bs_array=array(antennas, carrier_hz, device),
        direction="uplink",
        min_speed=speed_mps,
        max_speed=speed_mps,
        precision="single",
        device=device,
    )
    return SionnaSource(model, static=speed_mps == 0)


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
