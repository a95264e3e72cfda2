"""Files and texts over digital links: whole or not at all, and at their own cost."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from channel_models import Air, DigitalConfig, Link, named_air
from channel_models.digital import probe
from channel_models.digital.modem import packet
from channel_models.testing import LINK, frame

from .packets import TEXT_BITS, digital_air, file_frame


def test_a_file_arrives_whole_or_not_at_all() -> None:
    sent = file_frame(torch.full((100,), 2e4))
    (got,) = digital_air("rayleigh", 15.0, mcs=10).transmit([sent], seed=6)
    lost = got.erased.any(1)
    assert torch.equal(lost, got.erased.all(1))
    assert 0 < float(lost.double().mean()) < 1
    intact = ~lost[:, None] & sent.valid
    torch.testing.assert_close(got.symbols[intact], (sent.symbols * sent.scale[:, None])[intact])
    assert got.overhead.payload_bits == pytest.approx(3824 * 6)
    assert got.overhead.control_bits == 0  # the base station makes the tokens itself
    (certain,) = digital_air("awgn", 30.0, fidelity="link").transmit(
        [file_frame(torch.full((2,), 2e4))], 6
    )
    assert not certain.erased.any()
    assert (certain.sinr_db == math.inf).all()


def test_adaptation_aims_at_the_whole_file() -> None:
    """Ten packets that must all arrive are lost about as often as one that must."""
    lost = []
    for bits in (3e3, 38e3):
        sent = file_frame(torch.full((400,), bits))
        (got,) = digital_air("rayleigh", 20.0, bler_target=0.1).transmit([sent], seed=6)
        lost.append(float(got.erased.all(1).double().mean()))
    assert max(lost) < 0.15


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
@pytest.mark.parametrize("mcs", [3, 4])
def test_a_short_text_is_one_packet_of_its_own_size(fidelity: str, mcs: int) -> None:
    """(320 + 16 bits of CRC) / (2 bits a symbol x code rate): 384 and 286 symbols of QPSK."""
    air = digital_air("awgn", 20.0, fidelity=fidelity, mcs=mcs)
    (got,) = air.transmit([file_frame(torch.full((5,), TEXT_BITS))], seed=1)
    expected = {3: 336 / (2 * 449 / 1024), 4: 336 / (2 * 602 / 1024)}[mcs]
    assert got.overhead.data_channel_uses == packet(320, mcs).symbols == math.ceil(expected)
    assert got.overhead.payload_bits == TEXT_BITS
    assert not got.erased.any()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
@pytest.mark.parametrize("retransmissions", [0, 1])
def test_a_text_is_lost_as_a_whole(fidelity: str, retransmissions: int) -> None:
    settings = {"fidelity": fidelity, "retransmissions": retransmissions, "mcs": 10}
    sent = file_frame(8.0 * torch.arange(1, 61))
    (got,) = digital_air("rayleigh", 8.0, **settings).transmit([sent], seed=2)
    assert torch.equal(got.erased.any(1), got.erased.all(1))
    assert 0 < float(got.erased.all(1).double().mean()) < 1
    once = sum(packet(8 * letters, 10).symbols for letters in range(1, 61)) / 60
    assert (got.overhead.data_channel_uses > once + 1) == bool(retransmissions)


def _cost_beside(air: Air, bits: float, mate_bits: float, seed: int) -> tuple[float, float, bool]:
    """Payload bits and symbols of a file, and whether it is lost, beside one that is not sent."""
    sent = file_frame(torch.tensor([mate_bits, bits]))
    alone = replace(sent, valid=sent.valid & torch.tensor([[False], [True]]))
    (got,) = air.transmit([alone], seed)
    uses = got.overhead.data_channel_uses
    return 2 * got.overhead.payload_bits, 2 * uses, bool(got.erased[1].any())


@pytest.mark.parametrize("mcs", [10, "adaptive"])
@pytest.mark.parametrize(("bits", "payload_bits"), [(TEXT_BITS, TEXT_BITS), (2e4, 6 * 3824.0)])
def test_a_files_cost_does_not_depend_on_its_batch_mates(
    mcs: int | str, bits: float, payload_bits: float
) -> None:
    """The same sample beside a short text, and beside files of many packets."""
    air = digital_air("rayleigh", 12.0, mcs=mcs, retransmissions=1)
    fates = []
    for seed in range(12):
        mates = (8.0, 3824.0, 3e4, 3e6)
        (one,) = {_cost_beside(air, bits, mate_bits, seed) for mate_bits in mates}
        assert one[0] == pytest.approx(payload_bits)
        fates.append(one)
    assert len({uses for _, uses, _ in fates}) > 1


def test_a_files_fate_does_not_depend_on_its_batch_mates() -> None:
    """Six packets of which each is lost by chance."""
    air = digital_air("awgn", 11.0, bler_target=0.5)
    fates = []
    for seed in range(12):
        (one,) = {_cost_beside(air, 2e4, mate_bits, seed) for mate_bits in (8.0, 3e4, 3e6)}
        fates.append(one[-1])
    assert set(fates) == {False, True}


def test_a_file_is_coded_for_the_whole_of_a_wide_band() -> None:
    """Over 3,324 subcarriers, not for the lowest thousand."""
    link = Link(bandwidth_hz=100e6)
    config = named_air("tdl-c", delay_spread_ns=30)
    whole = frame("a", batch=200, symbols=link.subcarriers)
    whole = replace(whole, valid=torch.ones_like(whole.valid))
    sinr = 1 / config.build(link, 8.0).transmit([whole], seed=2)[0].noise_var - 1
    digital = config.model_copy(update={"digital": DigitalConfig()}).build(link, 8.0)
    (sent,) = digital.propagate([file_frame(torch.full((200,), 4e5))], seed=2)
    assert sent.channel_uses is not None
    for band, least, most in ((sinr, 0.95, 1.0), (sinr[:, :1024], 0.5, 0.9)):
        rates = torch.stack([torch.log2(1 + band).mean(1), 1 / sent.channel_uses[:, 0]])
        assert least < float(torch.corrcoef(rates)[0, 1]) < most


def test_a_texts_mcs_is_its_own_where_its_batch_mates_packets_cannot_be_coded() -> None:
    """Sionna's encoder takes no packets of 3824 bits at the lowest MCS."""
    air = digital_air("awgn", -10.0, fidelity="link")
    for mate_bits in (8.0, 3e4):
        _, uses, _ = _cost_beside(air, TEXT_BITS, mate_bits, seed=1)
        assert uses == packet(320, 2).symbols


def test_an_empty_text_costs_nothing() -> None:
    (got,) = digital_air("awgn", 20.0).transmit([file_frame(torch.zeros(3))], seed=1)
    assert got.overhead.data_channel_uses == got.overhead.payload_bits == 0
    assert not got.erased.any()


def _files_lost(fidelity: str, speed_mps: float, batch: int, packets: int) -> float:
    """Fraction of files lost, of QPSK at rate 0.59 and 10 dB."""
    sent = file_frame(torch.full((batch,), 3824.0 * packets))
    digital = DigitalConfig(mcs=4, fidelity=fidelity)
    air = named_air("tdl-a", delay_spread_ns=10.0, speed_mps=speed_mps, digital=digital)
    (got,) = air.build(LINK, 10.0).transmit([sent], seed=3)
    return float(got.erased.all(1).double().mean())


@pytest.mark.parametrize(("speed_mps", "packets"), [(0.0, 1), (10.0, 8)])
def test_the_abstraction_loses_as_many_files_as_the_link(speed_mps: float, packets: int) -> None:
    """Packets of 1.75 slots each, which all have to arrive: within three standard errors."""
    few, many = 24, 400  # decoding takes its time
    decoded = _files_lost("link", speed_mps, few, packets)
    abstract = _files_lost("abstract", speed_mps, many, packets)
    variance = abstract * (1 - abstract) * (1 / few + 1 / many)
    assert abstract == pytest.approx(decoded, abs=3 * variance**0.5)


def test_fading_over_a_long_file_loses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty packets in 35 ms at 3 m/s meet more fades than the first of them does.

    As many are lost where the probe of such a file is too large to see every OFDM symbol.
    """
    still, moving = (_files_lost("abstract", speed_mps, 100, 40) for speed_mps in (0.0, 3.0))
    assert still < 0.3 < 0.6 < moving
    monkeypatch.setattr(probe, "_MAX_GAINS", 2**20)
    assert _files_lost("abstract", 3.0, 100, 40) == pytest.approx(moving, abs=0.05)


def test_estimated_channels_lose_as_many_files_in_a_wide_band() -> None:
    """Interpolation errs most in the first OFDM symbols, which are all of a short stretch."""
    lost = [
        float(
            named_air("rayleigh", csi="estimated", digital=DigitalConfig(mcs=10))
            .build(Link(bandwidth_hz=bandwidth_hz), 16.0)
            .transmit([file_frame(torch.full((200,), 40_000.0))], seed=6)[0]
            .erased.all(1)
            .float()
            .mean()
        )
        for bandwidth_hz in (5e6, 40e6)
    ]
    assert lost[1] == pytest.approx(lost[0], abs=0.02)
