"""Cells: link budget, places, power control."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from channel_models import Air, DigitalConfig, Link, Reception, Request, named_air
from channel_models.digital.air import DigitalAir
from channel_models.sources import cell
from channel_models.sources.budget import PowerControl
from channel_models.sources.cell import CellSource
from channel_models.testing import LINK, AirContract, frame, squared_errors


class TestUrbanMicrocell(AirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("umi").build(LINK, math.nan)


class TestIndoorWithPowerControl(AirContract):
    def build(self, snr_db: float) -> Air:
        return named_air("inh", p0_dbm=-90.0, speed_mps=1.0, drop_seed=1).build(LINK, math.nan)


def _send(
    name: str, link: Link = LINK, seed: int = 3, batch: int = 64, **settings: object
) -> list[Reception]:
    air = named_air(name, **settings).build(link, math.nan)
    return air.transmit([frame(sender, batch=batch, symbols=24) for sender in "abc"], seed)


@pytest.mark.parametrize("name", ["umi", "uma", "rma", "inh"])
def test_snr_follows_from_the_link_budget(name: str) -> None:
    """P - path loss - noise over the device's own resource blocks, up to frequency selectivity."""
    receptions = _send(name, batch=500)
    band_hz = LINK.blocks_per_device(3) * 12 * 30e3
    noise_dbm = -174 + 5 + 10 * math.log10(band_hz)
    excess_db = [
        got.realised_snr_db
        - (got.location["tx_power_dbm"] - got.location["path_loss_db"] - noise_dbm)
        for got in receptions
    ]
    ratio = 10 ** (torch.cat(excess_db).double() / 10)
    error = 5 * float(ratio.std()) / math.sqrt(len(ratio))
    assert error < 0.15  # so that 1 dB is seen
    assert float(ratio.mean()) == pytest.approx(1.0, abs=error)


def test_noise_follows_its_figure() -> None:
    for quiet, noisy in zip(_send("umi"), _send("umi", noise_figure_db=8.0), strict=True):
        loss_db = quiet.realised_snr_db - noisy.realised_snr_db
        torch.testing.assert_close(loss_db, torch.full_like(loss_db, 3.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "settings", "complaint"),
    [
        ("umi", {"o2i": "high", "carrier_ghz": 5.9}, "umi takes no o2i: below 6 GHz"),
        ("uma", {"o2i": "high", "carrier_ghz": 6.0}, ""),
        ("uma", {"indoor_prob": 0.5, "o2i": "low"}, ""),
        ("rma", {"o2i": "high", "carrier_ghz": 6.0}, "rma takes no o2i: .* single loss"),
        ("rma", {"indoor_prob": 0.5}, ""),
        ("inh", {"o2i": "high", "indoor_prob": 0.5}, "inh takes no indoor_prob, o2i: .* same hall"),
        ("umi", {"alpha": 0.8}, "umi takes no alpha: .* full power unless p0_dbm"),
        ("umi", {"alpha": 0.8, "p0_dbm": -90.0}, ""),
        ("umi", {"interpolation": "lmmse"}, "umi takes no interpolation: csi perfect"),
    ],
)
def test_settings_without_effect_are_refused(
    name: str, settings: dict[str, object], complaint: str
) -> None:
    air = named_air(name, **settings)
    if not complaint:
        air.check(LINK)
        return
    with pytest.raises(ValueError, match=complaint):
        air.check(LINK)


def test_a_carrier_beyond_the_scenarios_range_is_refused() -> None:
    with pytest.raises(ValueError, match="rma has a path loss for carrier_ghz of 30 or less"):
        named_air("rma", carrier_ghz=60.0)
    for name, carrier_ghz in (("rma", 30.0), ("uma", 60.0)):
        named_air(name, carrier_ghz=carrier_ghz).check(LINK)


def test_snr_and_energy_follow_the_transmit_power() -> None:
    """20 dB less of both, over the same channels."""
    quiet = LINK.model_copy(update={"tx_power_dbm": LINK.tx_power_dbm - 20})
    for got, low in zip(_send("umi"), _send("umi", quiet), strict=True):
        assert torch.allclose(got.realised_snr_db - 20, low.realised_snr_db, atol=1e-3)
        assert low.overhead.energy_mj == pytest.approx(got.overhead.energy_mj / 100)


def test_every_sample_has_a_place_or_every_device() -> None:
    anew = _send("umi")
    assert len(anew[0].location["x_m"].unique()) == 64
    kept = [_send("umi", seed=seed, drop_seed=1) for seed in (3, 4)]
    for reception in kept[0]:
        assert len(reception.location["x_m"].unique()) == 1
    assert float(kept[0][0].location["x_m"][0]) != float(kept[0][1].location["x_m"][0])
    assert torch.equal(kept[0][0].location["x_m"], kept[1][0].location["x_m"])
    assert not torch.equal(kept[0][0].realised_snr_db, kept[1][0].realised_snr_db)
    distance = torch.hypot(anew[0].location["x_m"], anew[0].location["y_m"])
    assert 10 <= float(distance.min()) <= float(distance.max()) <= 200


def test_the_same_seed_gives_the_same_cell() -> None:
    first, again = _send("umi"), _send("umi")
    assert torch.equal(first[1].symbols, again[1].symbols)


def test_power_control_levels_the_field_and_saves_energy() -> None:
    loud, (level, *_) = _send("umi")[0], _send("umi", p0_dbm=-90.0)
    assert float(level.realised_snr_db.std()) < float(loud.realised_snr_db.std())
    assert float(level.location["tx_power_dbm"].max()) <= LINK.tx_power_dbm + 1e-4
    assert level.overhead.energy_mj < loud.overhead.energy_mj
    mean_mw = float((10 ** (level.location["tx_power_dbm"].double() / 10)).mean())
    loud_mw = 10 ** (LINK.tx_power_dbm / 10)
    assert level.overhead.energy_mj == pytest.approx(
        loud.overhead.energy_mj * mean_mw / loud_mw, rel=1e-5
    )


def test_power_control_aims_at_p0_until_power_runs_out() -> None:
    gain = torch.tensor([1e-8, 1e-9, 1e-14])
    watts = PowerControl(-80.0, 1.0).watts(gain, 48, 23.0)
    received_dbm = 10 * torch.log10(watts * gain) + 30 - 10 * math.log10(4)
    torch.testing.assert_close(received_dbm[:2], torch.tensor([-80.0, -80.0]), atol=1e-3, rtol=0)
    assert float(received_dbm[2]) < -80
    assert float(watts[2]) == pytest.approx(0.1995, rel=1e-3)


def test_power_control_may_compensate_a_part_of_the_path_loss() -> None:
    """TS 38.213, section 7.1.1: P0 + alpha PL in dBm for one resource block of 15 kHz."""
    watts = PowerControl(-30.0, 0.5).watts(torch.tensor([1e-8, 1e-9]), 12, 60.0)
    dbm = 10 * torch.log10(watts) + 30
    torch.testing.assert_close(dbm, torch.tensor([10.0, 15.0]), atol=1e-3, rtol=0)


def test_indoor_users_lose_more() -> None:
    """Building penetration: a lower median SNR indoors, and lower still through heavy walls.

    Below 6 GHz, TR 38.901 has one model for all walls (table 7.4.3-3).
    """
    medians = [
        float(
            _send("uma", indoor_prob=share, o2i=o2i, carrier_ghz=28.0)[0].realised_snr_db.median()
        )
        for share, o2i in ((0.0, "low"), (1.0, "low"), (1.0, "high"))
    ]
    assert medians[0] > medians[1] + 3
    assert medians[1] > medians[2] + 3


def _semivariance(
    monkeypatch: pytest.MonkeyPatch, drops: int, at_once: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of shadowing by distance, ``[drops, bins]`` (dB^2), and 1 - exp(-d / 10 m) of the same pairs.

    All 200 users stand in sight, 10 to 18 m from a microcell's station.
    """
    drop = CellSource._drop

    def near_the_station(self: CellSource, batch: int) -> list[torch.Tensor]:
        users, station, *others, indoors = drop(self, batch)
        radius, angle = (torch.rand(batch) * 224 + 100).sqrt(), torch.rand(batch) * 2 * torch.pi
        users[:, 0, :2] = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)
        users[:, 0, 2] = 1.5
        return [users, station, *others, torch.zeros_like(indoors)]

    monkeypatch.setattr(CellSource, "_drop", near_the_station)
    monkeypatch.setattr(cell, "_NEIGHBOURS", at_once)
    source = named_air("umi", antenna_pattern="omni").source(Link(), "cpu")
    assert source is not None
    edges = (0.0, 1.0, 2.0, 4.0, 8.0)
    found, expected = [], []
    for seed in range(drops):
        location = source.realise(Request(200, 1, 1.0, 12, seed, "", neighbours=True)).location
        place = torch.stack([location["x_m"], location["y_m"]], dim=1)
        slope = torch.log10(torch.hypot(place.norm(dim=1), torch.tensor(8.5)))
        shadow_db = location["path_loss_db"] - 21 * slope
        apart = torch.pdist(place)
        halves = torch.pdist(shadow_db[:, None]).square() / 2
        bins = [(apart >= low) & (apart < high) for low, high in pairwise(edges)]
        found.append([float(halves[chosen].mean()) for chosen in bins])
        expected.append([float(1 - (-apart[chosen] / 10).exp().mean()) for chosen in bins])
    return torch.tensor(found), torch.tensor(expected)


def test_shadowing_of_neighbours_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """TR 38.901 table 7.5-6, UMi in sight: 4 dB, correlated over 10 m; fading adds a constant."""
    found, expected = _semivariance(monkeypatch, drops=30, at_once=1000)
    excess = found - 16 * expected
    rise = excess[:, 1:] - excess[:, :1]
    error = rise.std(0) / math.sqrt(len(rise))
    assert (rise.mean(0).abs() < 4 * error).all()
    assert 0 < float(excess[:, 0].mean()) < 2


def test_users_who_do_not_fit_into_one_topology_keep_their_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whatever order they are divided, the nearest to each other stay alike."""
    found, _ = _semivariance(monkeypatch, drops=10, at_once=70)
    assert float(found[:, 0].mean()) < 16 / 3


def test_several_users_share_a_cell_by_space() -> None:
    receptions = _send("umi", Link(access="sdma", antennas=8), speed_mps=3.0)
    for sent, got in zip([frame(s, 64, 24) for s in "abc"], receptions, strict=True):
        announced = float(got.noise_var[sent.valid].mean())
        assert float(squared_errors(sent, got)[sent.valid].mean()) == pytest.approx(
            announced, rel=0.2
        )


def _packets(**settings: object) -> DigitalAir:
    digital = DigitalConfig(mcs=2, bits=4, retransmissions=1)
    air = named_air("umi", digital=digital, **settings).build(LINK, math.nan)
    assert isinstance(air, DigitalAir)
    return air


@pytest.mark.parametrize("speed_mps", [0.0, 3.0])
def test_whoever_sends_again_is_where_he_was_under_other_fading(speed_mps: float) -> None:
    air = named_air("umi", speed_mps=speed_mps).build(LINK, math.nan)
    sent = frame("a", batch=400, symbols=24)
    first, again = (air.transmit([replace(sent, attempt=n)], seed=3)[0] for n in (0, 1))
    for name in ("x_m", "y_m", "path_loss_db"):
        torch.testing.assert_close(first.location[name], again.location[name])
    other = (first.realised_snr_db - again.realised_snr_db).abs()
    assert float(other.median()) > 0.5
    assert float((first.realised_snr_db - again.realised_snr_db).mean()) == pytest.approx(0, abs=1)


def test_streams_of_a_device_come_from_one_place() -> None:
    air = named_air("umi").build(LINK, math.nan)
    streams = [replace(frame("a", batch=50, symbols=24), stream=name) for name in ("one", "two")]
    one, two = air.transmit(streams, seed=3)
    assert torch.equal(one.location["x_m"], two.location["x_m"])
    assert not torch.equal(one.realised_snr_db, two.realised_snr_db)


def test_packets_that_are_lost_at_a_bad_place_are_mostly_lost_again() -> None:
    """Some users are in outage, and stay so; at a new place nine of ten were heard."""
    sent = frame("a", batch=2000, symbols=24, transport="digital")
    air = _packets()
    (received,) = air.transmit([sent], seed=3)
    once = named_air("umi", digital=DigitalConfig(mcs=2, bits=4)).build(LINK, math.nan)
    (before,) = once.transmit([sent], seed=3)
    lost, still = (float(own.erased.float().mean()) for own in (before, received))
    assert lost > 0.05
    assert 0.3 * lost < still < 0.9 * lost
