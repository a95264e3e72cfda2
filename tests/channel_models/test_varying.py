"""Training over a range of SNRs: one draw an interval, for all of its frames."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from channel_models import Air, Link, SnrRange, named_air
from channel_models.testing import AirContract, frame


class TestRange(AirContract):
    """An air over a range keeps the contract of an air; the asked SNR is its middle."""

    def build(self, snr_db: float) -> Air:
        return named_air("rayleigh").build(Link(), SnrRange(low=snr_db - 3, high=snr_db + 3))

    def test_what_is_announced_is_what_was_drawn(self) -> None:
        air = named_air("awgn").build(Link(), SnrRange(low=-6, high=18))
        drawn = torch.stack([_realised(air, seed) for seed in range(400)])
        assert torch.equal(drawn, drawn[:, :1].expand_as(drawn)), "one draw for all samples"
        assert -6 <= drawn.min() < -5
        assert 17 < drawn.max() <= 18
        assert abs(float(drawn[:, 0].mean()) - 6) < 5 * 24 / 12**0.5 / 400**0.5


def _realised(air: Air, seed: int) -> torch.Tensor:
    """Realised SNR of an interval's two frames and all samples."""
    sent = [frame("a", batch=2, symbols=4), frame("b", batch=2, symbols=4)]
    return torch.cat([got.realised_snr_db for got in air.transmit(sent, seed)])


@pytest.mark.parametrize("digital", [None, {"mcs": 4}])
def test_an_interval_passes_the_air_of_its_own_snr(digital: dict[str, int] | None) -> None:
    sent = frame("a", batch=3, transport="analog" if digital is None else "digital")
    config = named_air("rayleigh", digital=digital)
    snr_db = SnrRange(low=0, high=10)
    (got,) = config.build(Link(), snr_db).transmit([sent], seed=5)
    (same,) = config.build(Link(), snr_db.draw(5)).transmit([sent], seed=5)
    assert torch.equal(got.symbols, same.symbols)
    assert torch.equal(got.noise_var, same.noise_var)


@pytest.mark.parametrize("ends", [(3, 3), (4, -4), (0, float("inf")), (float("nan"), 1)])
def test_empty_and_endless_ranges_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValidationError):
        SnrRange(low=ends[0], high=ends[1])
