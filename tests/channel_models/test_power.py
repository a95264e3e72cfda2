from __future__ import annotations

import math

import pytest
import torch

from channel_models.power import energy_mj, mean_db, noise_power, normalise


def test_each_sample_has_unit_power_over_its_valid_symbols() -> None:
    raw = torch.randn(3, 50, dtype=torch.complex64) * torch.tensor([[0.01], [1.0], [100.0]])
    valid = torch.rand(3, 50) > 0.4
    unit, scale = normalise(raw, valid)
    power = unit.abs().square().sum(1) / valid.sum(1)
    torch.testing.assert_close(power, torch.ones(3))
    assert (unit[~valid] == 0).all()
    torch.testing.assert_close((unit * scale[:, None])[valid], raw[valid])


def test_padding_neither_counts_nor_leaks() -> None:
    raw = torch.randn(2, 8, dtype=torch.complex64)
    valid = torch.tensor([[True] * 5 + [False] * 3] * 2)
    disturbed = torch.where(valid, raw, 1e6)
    assert torch.equal(normalise(raw, valid)[0], normalise(disturbed, valid)[0])


def test_silence_stays_finite() -> None:
    unit, scale = normalise(
        torch.zeros(1, 4, dtype=torch.complex64), torch.ones(1, 4, dtype=torch.bool)
    )
    assert torch.isfinite(unit.abs()).all()
    assert torch.isfinite(scale).all()


def test_noise_and_energy() -> None:
    assert noise_power(0.0) == 1.0
    assert noise_power(10.0) == pytest.approx(0.1)
    assert noise_power(math.inf) == 0.0
    assert energy_mj(30.0, 1000.0) == pytest.approx(1000.0)  # one watt for one second
    for bad in (math.nan, -math.inf):
        with pytest.raises(ValueError, match="is not an SNR"):
            noise_power(bad)


def test_ratios_are_averaged_before_the_logarithm() -> None:
    assert mean_db([0.0, 10.0]) == pytest.approx(10 * math.log10(5.5))
    assert mean_db(torch.tensor([3.0, -math.inf])) == pytest.approx(3 + 10 * math.log10(0.5))
    assert mean_db([0.0, 10.0], torch.tensor([0.75, 0.25])) == pytest.approx(
        10 * math.log10(3.25), abs=1e-6
    )
    assert mean_db([-math.inf, -math.inf]) == -math.inf
    assert mean_db([math.inf, 5.0]) == math.inf
