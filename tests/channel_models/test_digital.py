"""Digital links: the quantiser, packets over the air, link adaptation, files."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from channel_models import Air, DigitalConfig, Frame, Link, named_air
from channel_models.digital import probe
from channel_models.digital.abstraction import (
    adapt_mcs,
    block_error_rate,
    effective_sinr,
    usable_mcs,
)
from channel_models.digital.modem import modem, packet, packet_symbols
from channel_models.digital.quantiser import dequantise, quantise, quantised_symbols
from channel_models.testing import LINK, AirContract, NormalisedAirContract, frame


def _air(name: str, snr_db: float, **digital: object) -> Air:
    return named_air(name, digital=DigitalConfig(**digital)).build(LINK, snr_db)


class TestTokensInPackets(NormalisedAirContract):
    counts_symbols = False
    transport = "digital"
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return _air("rayleigh", snr_db, mcs=10)


class TestDecodedPackets(AirContract):
    counts_symbols = False
    transport = "digital"
    many = 800  # decoding takes its time

    def build(self, snr_db: float) -> Air:
        return _air("tdl-a", snr_db, mcs=5, fidelity="link", retransmissions=1)


class TestPacketsFromACell(AirContract):
    counts_symbols = False
    transport = "digital"

    def build(self, snr_db: float) -> Air:
        return _air("umi", snr_db)


def _tokens(batch: int = 4, seed: int = 0, requires_grad: bool = False) -> Frame:
    sent = frame("a", batch, 64, seed, requires_grad=requires_grad, transport="digital")
    return replace(sent, block=16)


def _file(sizes: torch.Tensor, sender: str = "a") -> Frame:
    """Files of so many bits ``[B]``."""
    sent = frame(sender, batch=len(sizes), symbols=64)
    return replace(sent, block=16, transport="file", file_bits=sizes)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_quantiser_errs_by_half_a_step_at_most(bits: int) -> None:
    values = torch.randn(50, 64) * torch.logspace(-3, 3, 50)[:, None]
    level, step = quantise(values, bits)
    assert int(level.min()) >= 0
    assert int(level.max()) <= 2**bits - 2
    error = (dequantise(level, step, bits) - values).abs() / step
    assert float(error.max()) <= 0.5 + 4e-3
    scale = step * (2 ** (bits - 1) - 1)  # as it travels
    torch.testing.assert_close(scale, scale.bfloat16().float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_quantisers_error_is_the_announced_one(bits: int) -> None:
    sent = replace(frame("a", batch=200, symbols=64), block=16)
    symbols, error = quantised_symbols(sent, bits)
    real = (symbols - sent.symbols)[sent.valid].abs().square().mean()
    assert float(real) == pytest.approx(float(error[sent.valid].mean()), rel=0.05)


@pytest.mark.parametrize("mcs", [3, 10, 22])
@pytest.mark.parametrize("payload_bits", [40, 528, 3824])
def test_packets_decode_without_noise_and_fail_in_it(mcs: int, payload_bits: int) -> None:
    radio = modem(packet(payload_bits, mcs), "cpu")
    bits = torch.randint(0, 2, (6, payload_bits), generator=torch.Generator().manual_seed(1))
    symbols = radio.modulate(bits)
    assert symbols.shape == (6, radio.packet.symbols)
    decoded, intact = radio.decode(radio.soft_bits(symbols, torch.full(symbols.shape, 1e-4)))
    assert intact.all()
    assert torch.equal(decoded.long(), bits)
    noise = 3.0 * torch.randn(symbols.shape, dtype=torch.complex64)
    received = (symbols + noise) / 10.0
    _, intact = radio.decode(radio.soft_bits(received, torch.full(symbols.shape, 0.9)))
    assert not intact.any()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_tokens_arrive_as_quantised_or_not_at_all(fidelity: str) -> None:
    sent = _tokens(batch=8)
    (good,) = _air("awgn", 25.0, fidelity=fidelity, bits=8).transmit([sent], seed=1)
    assert not good.erased.any()
    error = (good.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square().mean()
    assert float(error) == pytest.approx(float(good.noise_var[sent.valid].mean()), rel=0.3)
    assert float(error) < 1e-3
    (bad,) = _air("awgn", -20.0, fidelity=fidelity).transmit([sent], seed=1)
    assert bad.erased[sent.valid].all()
    assert (bad.symbols == 0).all()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_gradients_pass_straight_through_what_arrives(fidelity: str) -> None:
    sent = _tokens(batch=30, requires_grad=True)
    (got,) = _air("rayleigh", 10.0, fidelity=fidelity, mcs=10).transmit([sent], seed=2)
    assert got.erased.any()
    assert not got.erased.all()
    got.symbols.real.sum().backward()
    assert sent.symbols.grad is not None
    arrived = sent.valid & ~got.erased
    expected = sent.scale.detach()[:, None].expand(sent.symbols.shape)
    torch.testing.assert_close(sent.symbols.grad.real[arrived], expected[arrived])
    assert (sent.symbols.grad[~arrived] == 0).all()


def test_the_abstraction_loses_as_many_packets_as_the_link() -> None:
    """At a fixed MCS on block fading, where a packet's fate is its sample's: within 0.75 dB."""
    sent = _tokens(batch=400)

    def lost(fidelity: str, snr_db: float) -> float:
        (got,) = _air("rayleigh", snr_db, fidelity=fidelity, mcs=10).transmit([sent], seed=3)
        return float(got.erased[sent.valid].double().mean())

    link = lost("link", 12.0)
    assert lost("abstract", 12.75) - 0.02 < link < lost("abstract", 11.25) + 0.02
    assert 0.1 < link < 0.9


def test_link_adaptation_trades_symbols_for_safety() -> None:
    sent = _tokens(batch=200)
    uses, losses = [], []
    for target in (0.5, 0.1, 0.01):
        (got,) = _air("rayleigh", 15.0, bler_target=target).transmit([sent], seed=4)
        uses.append(got.overhead.data_channel_uses)
        losses.append(float(got.erased[sent.valid].double().mean()))
    assert uses[0] < uses[1] < uses[2]
    assert losses[0] > losses[1] >= losses[2]
    (better,) = _air("rayleigh", 25.0).transmit([sent], seed=4)
    assert better.overhead.data_channel_uses < uses[1]


def test_adaptation_takes_the_highest_mcs_that_meets_the_target() -> None:
    sinr = torch.tensor([1.0, 10.0, 60.0])[:, None].expand(3, 40)
    bits = torch.full((3,), 272)
    choices = usable_mcs("cpu")
    possible = torch.ones(3, len(choices), dtype=torch.bool)
    mcs = adapt_mcs(sinr, bits, torch.full((3,), 0.1), choices, possible)

    def bler(own: torch.Tensor) -> torch.Tensor:
        return block_error_rate(effective_sinr(sinr, own), own, packet_symbols(bits, own))

    assert mcs[0] < mcs[1] < mcs[2] < max(choices)
    assert (bler(mcs) <= 0.1).all()
    assert (bler(mcs + 1) > 0.1).all()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_a_retransmission_adds_to_what_came_before(fidelity: str) -> None:
    """Where two attempts of which each stands alone would be lost nearly as often as one."""
    sent = _tokens(batch=8)

    def lost(retransmissions: int) -> float:
        settings = {"fidelity": fidelity, "mcs": 4, "retransmissions": retransmissions}
        (got,) = _air("awgn", 0.5, **settings).transmit([sent], seed=1)
        return float(got.erased[sent.valid].double().mean())

    assert lost(0) > 0.9
    assert lost(1) < 0.2


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_a_retransmission_saves_packets_and_costs_symbols(fidelity: str) -> None:
    sent = _tokens(batch=60)
    once, twice = (
        _air("rayleigh", 8.0, fidelity=fidelity, mcs=8, retransmissions=n).transmit([sent], seed=5)[
            0
        ]
        for n in (0, 1)
    )
    assert twice.erased[sent.valid].sum() < once.erased[sent.valid].sum()
    assert (twice.erased <= once.erased).all()
    resent = twice.overhead.data_channel_uses - once.overhead.data_channel_uses
    lost = float(once.erased[:, ::16].sum(1).float().mean())  # padding is sent by nobody
    symbols = packet(2 * 16 * 8 + 16, 8).symbols
    assert resent == pytest.approx(symbols * lost)
    again = once.erased.any(1)
    assert torch.equal(twice.waiting_ms, torch.where(again, 8.0, 0.0).double())
    assert (once.waiting_ms == 0).all()


def test_a_retransmission_is_a_transmission_of_its_own() -> None:
    """A text of 286 symbols that is always lost: OFDM symbols of data in one slot, with two
    of pilots, and all of it again."""
    sent = _file(torch.full((3,), TEXT_BITS))
    once, twice = (
        _air("awgn", -20.0, mcs=4, retransmissions=n).transmit([sent], seed=1)[0] for n in (0, 1)
    )
    assert twice.overhead.data_channel_uses == 2 * 286
    for cost in ("airtime_ms", "pilot_channel_uses", "energy_mj"):
        alone = getattr(once.overhead, cost)
        assert getattr(twice.overhead, cost) == pytest.approx(2 * alone), cost
    assert twice.overhead.control_bits == once.overhead.control_bits
    assert (twice.waiting_ms == 8.0).all()


def test_a_file_arrives_whole_or_not_at_all() -> None:
    sent = _file(torch.full((100,), 2e4))
    (got,) = _air("rayleigh", 15.0, mcs=10).transmit([sent], seed=6)
    lost = got.erased.any(1)
    assert torch.equal(lost, got.erased.all(1))
    assert 0 < float(lost.double().mean()) < 1
    intact = ~lost[:, None] & sent.valid
    torch.testing.assert_close(got.symbols[intact], (sent.symbols * sent.scale[:, None])[intact])
    assert got.overhead.payload_bits == pytest.approx(3824 * 6)
    assert got.overhead.control_bits == 0  # the base station makes the tokens itself
    (certain,) = _air("awgn", 30.0, fidelity="link").transmit([_file(torch.full((2,), 2e4))], 6)
    assert not certain.erased.any()
    assert (certain.sinr_db == math.inf).all()


def test_adaptation_aims_at_the_whole_file() -> None:
    """Ten packets that must all arrive are lost about as often as one that must."""
    lost = []
    for bits in (3e3, 38e3):
        sent = _file(torch.full((400,), bits))
        (got,) = _air("rayleigh", 20.0, bler_target=0.1).transmit([sent], seed=6)
        lost.append(float(got.erased.all(1).double().mean()))
    assert max(lost) < 0.15


@pytest.mark.parametrize("sent", [_tokens(64), _file(torch.full((64,), 800.0))])
def test_what_is_lost_has_no_sinr(sent: Frame) -> None:
    """What arrives has that of the quantiser; a file is without error."""
    (got,) = _air("rayleigh", 5.0, mcs=10).transmit([sent], seed=2)
    lost = (got.erased | ~sent.valid).all(1)
    assert 0 < int(lost.sum()) < len(lost)
    assert (got.sinr_db[lost] == -math.inf).all()
    if sent.transport == "file":
        assert (got.sinr_db[~lost] == math.inf).all()
    else:
        arrived = sent.valid & ~got.erased
        ratio = (arrived / got.noise_var).sum(1) / sent.valid.sum(1)
        torch.testing.assert_close(got.sinr_db, 10 * ratio.log10())


def test_nobodys_packets_depend_on_the_others() -> None:
    air = _air("rayleigh", 10.0, mcs=10)
    quiet, loud = (
        replace(frame("b", gain=gain, seed=seed, transport="digital"), block=8)
        for gain, seed in ((1.0, 0), (9.0, 7))
    )
    one = air.transmit([quiet, _tokens()], seed=3)[1]
    other = air.transmit([loud, _tokens()], seed=3)[1]
    assert torch.equal(one.symbols, other.symbols)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        _air("awgn", 10.0, mcs=40)
    with pytest.raises(ValueError, match="demodulates with CSI"):
        named_air("rayleigh", csi="none", digital={}).build(LINK, 10.0)
    with pytest.raises(ValueError, match="bits"):
        DigitalConfig(bits=5)
    large = replace(frame("a", symbols=512, transport="digital"), block=512)
    with pytest.raises(ValueError, match="take 3 or more"):
        _air("awgn", 10.0, mcs=2, bits=16).transmit([large], seed=0)
    with pytest.raises(ValueError, match="cannot code packets of 3824 bits"):
        _air("awgn", 10.0, mcs=2, fidelity="link").transmit([_file(torch.full((1,), 1e4))], 0)
    with pytest.raises(ValueError, match="give the air 'digital'"):
        named_air("awgn").build(LINK, 10.0).transmit([_tokens()], seed=0)
    with pytest.raises(ValueError, match="'file' needs 'file_bits'"):
        replace(_tokens(), transport="file")
    with pytest.raises(ValueError, match="'digital' takes no 'file_bits'"):
        replace(_tokens(), file_bits=torch.ones(4))
    with pytest.raises(ValueError, match="no transport 'pigeon'; take one of analog"):
        replace(_tokens(), transport="pigeon")


TEXT_BITS = 320.0
"""Forty letters."""


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
@pytest.mark.parametrize("mcs", [3, 4])
def test_a_short_text_is_one_packet_of_its_own_size(fidelity: str, mcs: int) -> None:
    """(320 + 16 bits of CRC) / (2 bits a symbol x code rate): 384 and 286 symbols of QPSK."""
    air = _air("awgn", 20.0, fidelity=fidelity, mcs=mcs)
    (got,) = air.transmit([_file(torch.full((5,), TEXT_BITS))], seed=1)
    expected = {3: 336 / (2 * 449 / 1024), 4: 336 / (2 * 602 / 1024)}[mcs]
    assert got.overhead.data_channel_uses == packet(320, mcs).symbols == math.ceil(expected)
    assert got.overhead.payload_bits == TEXT_BITS
    assert not got.erased.any()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
@pytest.mark.parametrize("retransmissions", [0, 1])
def test_a_text_is_lost_as_a_whole(fidelity: str, retransmissions: int) -> None:
    settings = {"fidelity": fidelity, "retransmissions": retransmissions, "mcs": 10}
    sent = _file(8.0 * torch.arange(1, 61))
    (got,) = _air("rayleigh", 8.0, **settings).transmit([sent], seed=2)
    assert torch.equal(got.erased.any(1), got.erased.all(1))
    assert 0 < float(got.erased.all(1).double().mean()) < 1
    once = sum(packet(8 * letters, 10).symbols for letters in range(1, 61)) / 60
    assert (got.overhead.data_channel_uses > once + 1) == bool(retransmissions)


def _cost_beside(air: Air, bits: float, mate_bits: float, seed: int) -> tuple[float, float, bool]:
    """Payload bits and symbols of a file, and whether it is lost, beside one that is not sent."""
    sent = _file(torch.tensor([mate_bits, bits]))
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
    air = _air("rayleigh", 12.0, mcs=mcs, retransmissions=1)
    fates = []
    for seed in range(12):
        mates = (8.0, 3824.0, 3e4, 3e6)
        (one,) = {_cost_beside(air, bits, mate_bits, seed) for mate_bits in mates}
        assert one[0] == pytest.approx(payload_bits)
        fates.append(one)
    assert len({uses for _, uses, _ in fates}) > 1


def test_a_files_fate_does_not_depend_on_its_batch_mates() -> None:
    """Six packets of which each is lost by chance."""
    air = _air("awgn", 11.0, bler_target=0.5)
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
    (sent,) = digital.propagate([_file(torch.full((200,), 4e5))], seed=2)
    assert sent.channel_uses is not None
    for band, least, most in ((sinr, 0.95, 1.0), (sinr[:, :1024], 0.5, 0.9)):
        rates = torch.stack([torch.log2(1 + band).mean(1), 1 / sent.channel_uses[:, 0]])
        assert least < float(torch.corrcoef(rates)[0, 1]) < most


def test_a_texts_mcs_is_its_own_where_its_batch_mates_packets_cannot_be_coded() -> None:
    """Sionna's encoder takes no packets of 3824 bits at the lowest MCS."""
    air = _air("awgn", -10.0, fidelity="link")
    for mate_bits in (8.0, 3e4):
        _, uses, _ = _cost_beside(air, TEXT_BITS, mate_bits, seed=1)
        assert uses == packet(320, 2).symbols


def test_an_empty_text_costs_nothing() -> None:
    (got,) = _air("awgn", 20.0).transmit([_file(torch.zeros(3))], seed=1)
    assert got.overhead.data_channel_uses == got.overhead.payload_bits == 0
    assert not got.erased.any()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_every_stream_travels_its_own_way(fidelity: str) -> None:
    """Symbols beside packets and a file: each as among its own kind, on its part of the band."""
    air = named_air("tdl-a", speed_mps=3.0, fidelity=fidelity, digital=DigitalConfig())
    mixed, plain = air.build(LINK, 12.0), named_air("tdl-a", speed_mps=3.0, fidelity=fidelity)
    symbols, packets = frame("symbols", symbols=300), replace(_tokens(), sender="packets")
    file = _file(torch.full((4,), 9e3), "file")
    got = mixed.transmit([symbols, packets, file], seed=5)
    others = [frame(name, symbols=64) for name in ("packets", "file")]
    (alone, *_) = plain.build(LINK, 12.0).transmit([symbols, *others], seed=5)
    assert torch.equal(got[0].symbols, alone.symbols)
    assert torch.equal(got[0].noise_var, alone.noise_var)
    coded = replace(symbols, transport="digital")
    _, second, third = mixed.transmit([coded, packets, file], seed=5)
    for one, other in ((got[1], second), (got[2], third)):
        assert torch.equal(one.symbols, other.symbols)
        assert one.overhead == other.overhead
    assert got[0].overhead.payload_bits == 0 < got[1].overhead.payload_bits


def test_users_on_the_same_resources_send_alike() -> None:
    air = named_air("rayleigh", digital={}).build(Link(access="sdma", antennas=4), 12.0)
    with pytest.raises(ValueError, match="all send symbols or all packets"):
        air.transmit([frame("b"), _tokens()], seed=0)


def _files_lost(fidelity: str, speed_mps: float, batch: int, packets: int) -> float:
    """Fraction of files lost, of QPSK at rate 0.59 and 10 dB."""
    sent = _file(torch.full((batch,), 3824.0 * packets))
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


def test_adaptation_follows_a_channel_that_moves() -> None:
    """Over 5 ms at 3 m/s the last tokens are lost no more often than the first: each slot has an
    MCS of its own, and so each packet its own size."""
    batch, tokens, block = 150, 80, 32
    sent = frame("a", batch, tokens * block, transport="digital")
    sent = replace(sent, block=block, valid=torch.ones_like(sent.valid))
    air = named_air("tdl-a", delay_spread_ns=30.0, speed_mps=3.0, digital=DigitalConfig())
    (got,) = air.build(LINK, 12.0).transmit([sent], seed=3)
    lost = got.erased[:, ::block].double().mean(0)
    assert got.overhead.airtime_ms > 4.0
    assert float(lost[-20:].mean()) < float(lost[:20].mean()) + 0.05
    assert float(lost[-20:].mean()) < 0.15
