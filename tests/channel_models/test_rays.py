"""The sum of rays against Sionna's own."""

from __future__ import annotations

import pytest
import torch
from sionna.phy.channel.tr38901 import CDL

from channel_models.seeding import sionna_seeded
from channel_models.sources.delay_line import DelayLine
from channel_models.sources.profiles import delay_line_source, linear_array
from channel_models.sources.source import Request

CARRIER_HZ = 3.5e9


@pytest.mark.parametrize("profile", ["a", "b", "c", "d", "e"])
@pytest.mark.parametrize("antennas", [1, 4])
@pytest.mark.parametrize("speed_mps", [0.0, 30.0])
def test_coefficients_are_sionnas_to_single_precision(
    profile: str, antennas: int, speed_mps: float
) -> None:
    """Same seed, same channel; D and E have a line of sight, whose user may move or not."""
    line = DelayLine("cdl", profile, 100e-9, CARRIER_HZ, speed_mps, antennas)
    mine = delay_line_source(line, "cpu").realise(Request(8, 5, 28e3, 12, seed=3, sender="a"))
    sionna = CDL(
        profile.upper(),
        100e-9,
        CARRIER_HZ,
        ut_array=linear_array(1, CARRIER_HZ, "cpu"),
        bs_array=linear_array(antennas, CARRIER_HZ, "cpu"),
        direction="uplink",
        min_speed=speed_mps,
        max_speed=speed_mps,
        precision="single",
        device="cpu",
    )
    with sionna_seeded(3):
        gains, delays = sionna(8, 5, 28e3)
    torch.testing.assert_close(mine.gains, gains[:, 0, :, 0, 0], rtol=1e-4, atol=2e-6)
    torch.testing.assert_close(mine.delays_s.expand(8, -1), delays.reshape(8, -1))
