"""Delay lines: their profile, carrier frequency and speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DelayLine:
    """A profile of TR 38.901 section 7.7, or of TS 38.101-4 annex B.2.1.

    Attributes:
        family: ``tdl``, tapped, with uncorrelated antennas, or ``cdl``, clustered, with a row of
            omnidirectional antennas half a wavelength apart.
        profile: ``a`` to ``e``, or a fixed one such as ``a30``.
        delay_spread_s: RMS delay spread; None for a fixed profile, which has its own.
        carrier_hz: Carrier frequency.
        speed_mps: Speed of the user, for the Doppler spread.
        antennas: Number of the base station's antennas.
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
