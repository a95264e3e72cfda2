from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
import torch
from pydantic import ValidationError

from channel_models import Link, named_air
from channel_models.testing import frame


def test_a_slot_of_one_block_by_hand() -> None:
    """30 kHz: a slot lasts 0.5 ms and has 12 x (14 - 2) data symbols in a block of 360 kHz."""
    link = Link(bandwidth_hz=360e3, dmrs_symbols=2)
    assert link.resource_blocks == 1
    whole = link.cost(144, blocks=1)
    assert whole.airtime_ms == pytest.approx(0.5)
    assert whole.pilot_channel_uses == 24
    one_more = link.cost(145, blocks=1)
    assert one_more.airtime_ms == pytest.approx(0.5 + 3 * 0.5 / 14)  # one symbol and two pilots


@pytest.mark.parametrize("spacing", [15, 30, 60, 120])
def test_the_rate_does_not_depend_on_the_spacing(spacing: int) -> None:
    """Wider subcarriers, shorter symbols: as many channel uses fill a millisecond."""
    link = Link(bandwidth_hz=14.4e6, subcarrier_spacing_khz=spacing)
    whole = round(14.4e6 / 15e3 * 12)
    assert link.cost(whole, link.resource_blocks).airtime_ms == pytest.approx(1.0)


def test_twice_the_band_takes_half_the_time() -> None:
    narrow, wide = (Link(bandwidth_hz=b).costs([1e6], devices=2)[0] for b in (7.2e6, 14.4e6))
    assert wide.airtime_ms == pytest.approx(narrow.airtime_ms / 2, rel=1e-2)
    assert wide.energy_mj == pytest.approx(narrow.energy_mj / 2, rel=1e-2)


@pytest.mark.parametrize("lengths", [(0, 156), (0, 0, 0, 156), (10, 300), (100, 3000)])
def test_a_frames_cost_is_the_mean_of_its_samples(lengths: tuple[int, ...]) -> None:
    """OFDM symbols and slots are whole, so that the mean length costs something else; what sends
    nothing costs nothing."""
    link = Link()
    sent = frame("a", batch=len(lengths), symbols=max(lengths))
    sent = replace(sent, valid=torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])
    for air in (named_air("awgn"), named_air("umi", p0_dbm=-90.0)):
        (got,) = air.build(link, 10.0).transmit([sent], seed=1)
        costs = link.costs(lengths, 1)
        part = link.power_fraction(got.location).expand(len(lengths)).tolist()
        cost = got.overhead
        assert cost.data_channel_uses == sum(lengths) / len(lengths)
        assert cost.airtime_ms == pytest.approx(fmean(c.airtime_ms for c in costs))
        assert cost.pilot_channel_uses == fmean(c.pilot_channel_uses for c in costs)
        energies = [c.energy_mj * p for c, p in zip(costs, part, strict=True)]
        assert cost.energy_mj == pytest.approx(fmean(energies))
        assert cost.control_bits == 32 * fmean(float(n > 0) for n in lengths)
        assert got.costs["data_channel_uses"].tolist() == list(lengths)
        assert got.costs["energy_mj"].tolist() == pytest.approx(energies)
        assert got.costs["control_bits"].tolist() == [32.0 * (n > 0) for n in lengths]


def test_ofdma_waits_for_the_slowest_and_tdma_for_all() -> None:
    uses = [1e5, 3e5, 1e5]
    senders = ["vision", "audio", "text"]
    for access in ("ofdma", "tdma"):
        link = Link(bandwidth_hz=3 * 3.6e6, access=access)
        costs = link.costs(uses, devices=3)
        times = [cost.airtime_ms for cost in costs]
        expected = max(times) if access == "ofdma" else sum(times)
        assert link.joint_airtime_ms(senders, costs) == pytest.approx(expected)
    split = Link(bandwidth_hz=3 * 3.6e6).costs(uses, devices=3)
    whole = Link(bandwidth_hz=3 * 3.6e6, access="tdma").costs(uses, devices=3)
    assert split[1].airtime_ms == pytest.approx(3 * whole[1].airtime_ms, rel=1e-2)


def test_two_frames_of_one_sender_follow_each_other() -> None:
    link = Link(bandwidth_hz=3.6e6)
    costs = link.costs([144, 144, 144], devices=2)
    expected = 2 * costs[0].airtime_ms
    assert link.joint_airtime_ms(["text", "text", "audio"], costs) == pytest.approx(expected)
    assert link.blocks_per_device(2) == 5


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        ({"bandwidth_hz": -1.0}, r"bandwidth_hz\n.*greater than 0"),
        ({"bandwidth_hz": 100e3}, "bandwidth_hz 100000 is narrower than one resource block"),
        ({"bandwidth_hz": float("inf")}, r"bandwidth_hz\n.*finite"),
        ({"subcarrier_spacing_khz": 45}, r"subcarrier_spacing_khz\n.*15, 30, 60 or 120"),
        ({"dmrs_symbols": 14}, r"dmrs_symbols\n.*0, 1, 2, 3 or 4"),
        ({"access": "csma"}, r"access\n.*'ofdma', 'tdma' or 'sdma'"),
        ({"bandwith_hz": 1e6}, r"bandwith_hz\n.*not permitted"),
    ],
)
def test_bad_links_are_refused(bad: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Link(**bad)


def test_too_many_devices_for_the_band_are_refused() -> None:
    with pytest.raises(ValueError, match="1 resource blocks for 3 devices"):
        Link(bandwidth_hz=360e3).costs([1], devices=3)


@pytest.mark.parametrize(("access", "expected_ms"), [("ofdma", [7.0, 8.0]), ("tdma", [8.0, 8.0])])
def test_devices_wait_for_their_retransmissions_at_once(
    access: str, expected_ms: list[float]
) -> None:
    """One device sends for 1 ms, the other two streams for 1 ms each."""
    link = Link(access=access)
    airtimes_ms = [torch.ones(2, dtype=torch.float64)] * 3
    waiting_ms = [torch.tensor(waits, dtype=torch.float64) for waits in ([8, 0], [0, 8], [0, 8])]
    found = link.waits_ms(["audio", "text", "text"], airtimes_ms, waiting_ms)
    assert found.tolist() == expected_ms
