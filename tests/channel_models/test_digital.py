"""Digital links: the quantiser, packets over the air, link adaptation, files."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from channel_models import Air, DigitalConfig, Frame, named_air
from channel_models.digital.modem import modem, packet
from channel_models.digital.packets import dequantise, quantise

from .contract import LINK, AirContract, NormalisedAirContract, frame


def _air(name: str, snr_db: float, **digital: object) -> Air:
    return named_air(name, digital=DigitalConfig(**digital)).build(LINK, snr_db)


class TestTokensInPackets(NormalisedAirContract):
    counts_symbols = False
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return _air("rayleigh", snr_db, mcs=10)


class TestDecodedPackets(AirContract):
    counts_symbols = False
    many = 800  # decoding takes its time

    def build(self, snr_db: float) -> Air:
        return _air("tdl-a", snr_db, mcs=5, fidelity="link", retransmissions=1)


class TestPacketsFromACell(AirContract):
    counts_symbols = False

    def build(self, snr_db: float) -> Air:
        return _air("umi", snr_db)


def _tokens(batch: int = 4, seed: int = 0, requires_grad: bool = False) -> Frame:
    return replace(frame("a", batch, 64, seed, requires_grad=requires_grad), block=16)


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_the_quantiser_errs_by_half_a_step_at_most(bits: int) -> None:
    values = torch.randn(50, 64) * torch.logspace(-3, 3, 50)[:, None]
    level, step = quantise(values, bits)
    assert int(level.min()) >= 0
    assert int(level.max()) <= 2**bits - 2
    error = (dequantise(level, step, bits) - values).abs() / step
    scale_rounds_down = values.abs() > step * (2 ** (bits - 1) - 1)
    assert float(error[~scale_rounds_down].max()) <= 0.5 + 1e-3


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
    sent = replace(frame("a", batch=400, symbols=64), block=16)

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


def test_a_file_arrives_whole_or_not_at_all() -> None:
    sent = replace(frame("a", batch=100, symbols=64), block=16, file_bits=torch.full((100,), 2e4))
    (got,) = _air("rayleigh", 15.0, mcs=10).transmit([sent], seed=6)
    lost = got.erased.any(1)
    assert torch.equal(lost, got.erased.all(1))
    assert 0 < float(lost.double().mean()) < 1
    intact = ~lost[:, None] & sent.valid
    torch.testing.assert_close(got.symbols[intact], (sent.symbols * sent.scale[:, None])[intact])
    assert got.overhead.payload_bits == pytest.approx(3824 * 6)
    few = replace(frame("a", batch=2, symbols=64), block=16, file_bits=torch.full((2,), 2e4))
    (certain,) = _air("awgn", 30.0, fidelity="link").transmit([few], seed=6)
    assert not certain.erased.any()


def test_adaptation_aims_at_the_whole_file() -> None:
    """Ten packets that must all arrive are lost about as often as one that must."""
    lost = []
    for bits in (3e3, 38e3):
        sent = replace(
            frame("a", batch=400, symbols=64), block=16, file_bits=torch.full((400,), bits)
        )
        (got,) = _air("rayleigh", 20.0, bler_target=0.1).transmit([sent], seed=6)
        lost.append(float(got.erased.all(1).double().mean()))
    assert max(lost) < 0.15


def test_nobodys_packets_depend_on_the_others() -> None:
    air = _air("rayleigh", 10.0, mcs=10)
    one = air.transmit([replace(frame("b"), block=8), _tokens()], seed=3)[1]
    other = air.transmit([replace(frame("b", gain=9.0, seed=7), block=8), _tokens()], seed=3)[1]
    assert torch.equal(one.symbols, other.symbols)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        _air("awgn", 10.0, mcs=40)
    with pytest.raises(ValueError, match="demodulates with CSI"):
        named_air("rayleigh", csi="none", digital={}).build(LINK, 10.0)
    with pytest.raises(ValueError, match="bits"):
        DigitalConfig(bits=5)
    large = replace(frame("a", symbols=512), block=512)
    with pytest.raises(ValueError, match="take 3 or more"):
        _air("awgn", 10.0, mcs=2, bits=16).transmit([large], seed=0)
