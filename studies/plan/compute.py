"""Computing as a budget: the speeds of devices and base station, and the time that they take."""

from __future__ import annotations

from pydantic import Field

from tokcom_core.config import Config


class Compute(Config):
    """Speeds in GFLOP/s; without a speed, computing takes no time.

    Attributes:
        device_gflops: Speed of each device; devices compute at the same time.
        station_gflops: Speed of the base station.
    """

    device_gflops: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    station_gflops: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    def device_ms(self, gflop: float) -> float:
        """Time of ``gflop`` times 1e9 operations on a device."""
        return _time_ms(gflop, self.device_gflops)

    def station_ms(self, gflop: float) -> float:
        """Time of ``gflop`` times 1e9 operations at the base station."""
        return _time_ms(gflop, self.station_gflops)


def _time_ms(gflop: float, gflops: float | None) -> float:
    return 0.0 if gflops is None else 1e3 * gflop / gflops
