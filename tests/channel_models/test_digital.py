"""Digital links: the quantiser, packets over the air, and streams beside each other."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from channel_models import Air, DigitalConfig, Frame, Link, named_air
from channel_models.digital.modem import modem, packet
from channel_models.digital.quantiser import dequantise, quantise, quantised_symbols
from channel_models.testing import LINK, AirContract, NormalisedAirContract, frame

from .packets import digital_air, file_frame, token_frame


class TestTokensInPackets(NormalisedAirContract):
    counts_symbols = False
    transport = "digital"
    exact_when_noiseless = False

    def build(self, snr_db: float) -> Air:
        return digital_air("rayleigh", snr_db, mcs=10)


class TestDecodedPackets(AirContract):
    counts_symbols = False
    transport = "digital"
    many = 800  # decoding takes its time

    def build(self, snr_db: float) -> Air:
        return digital_air("tdl-a", snr_db, mcs=5, fidelity="link", retransmissions=1)


class TestPacketsFromACell(AirContract):
    counts_symbols = False
    transport = "digital"

    def build(self, snr_db: float) -> Air:
        return digital_air("umi", snr_db)


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
    sent = token_frame(batch=8)
    (good,) = digital_air("awgn", 25.0, fidelity=fidelity, bits=8).transmit([sent], seed=1)
    assert not good.erased.any()
    error = (good.symbols / sent.scale[:, None] - sent.symbols)[sent.valid].abs().square().mean()
    assert float(error) == pytest.approx(float(good.noise_var[sent.valid].mean()), rel=0.3)
    assert float(error) < 1e-3
    (bad,) = digital_air("awgn", -20.0, fidelity=fidelity).transmit([sent], seed=1)
    assert bad.erased[sent.valid].all()
    assert (bad.symbols == 0).all()


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_gradients_pass_straight_through_what_arrives(fidelity: str) -> None:
    sent = token_frame(batch=30, requires_grad=True)
    (got,) = digital_air("rayleigh", 10.0, fidelity=fidelity, mcs=10).transmit([sent], seed=2)
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
    sent = token_frame(batch=400)

    def lost(fidelity: str, snr_db: float) -> float:
        (got,) = digital_air("rayleigh", snr_db, fidelity=fidelity, mcs=10).transmit([sent], seed=3)
        return float(got.erased[sent.valid].double().mean())

    link = lost("link", 12.0)
    assert lost("abstract", 12.75) - 0.02 < link < lost("abstract", 11.25) + 0.02
    assert 0.1 < link < 0.9


@pytest.mark.parametrize("sent", [token_frame(64), file_frame(torch.full((64,), 800.0))])
def test_what_is_lost_has_no_sinr(sent: Frame) -> None:
    """What arrives has that of the quantiser; a file is without error."""
    (got,) = digital_air("rayleigh", 5.0, mcs=10).transmit([sent], seed=2)
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
    air = digital_air("rayleigh", 10.0, mcs=10)
    quiet, loud = (
        replace(frame("b", gain=gain, seed=seed, transport="digital"), block=8)
        for gain, seed in ((1.0, 0), (9.0, 7))
    )
    one = air.transmit([quiet, token_frame()], seed=3)[1]
    other = air.transmit([loud, token_frame()], seed=3)[1]
    assert torch.equal(one.symbols, other.symbols)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no table"):
        digital_air("awgn", 10.0, mcs=40)
    with pytest.raises(ValueError, match="demodulates with CSI"):
        named_air("rayleigh", csi="none", digital={}).build(LINK, 10.0)
    with pytest.raises(ValueError, match="bits"):
        DigitalConfig(bits=5)
    large = replace(frame("a", symbols=512, transport="digital"), block=512)
    with pytest.raises(ValueError, match="take 3 or more"):
        digital_air("awgn", 10.0, mcs=2, bits=16).transmit([large], seed=0)
    with pytest.raises(ValueError, match="cannot code packets of 3824 bits"):
        digital_air("awgn", 10.0, mcs=2, fidelity="link").transmit(
            [file_frame(torch.full((1,), 1e4))], 0
        )
    with pytest.raises(ValueError, match="give the air 'digital'"):
        named_air("awgn").build(LINK, 10.0).transmit([token_frame()], seed=0)
    with pytest.raises(ValueError, match="'file' needs 'file_bits'"):
        replace(token_frame(), transport="file")
    with pytest.raises(ValueError, match="'digital' takes no 'file_bits'"):
        replace(token_frame(), file_bits=torch.ones(4))
    with pytest.raises(ValueError, match="no transport 'pigeon'; take one of analog"):
        replace(token_frame(), transport="pigeon")


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_every_stream_travels_its_own_way(fidelity: str) -> None:
    """Symbols beside packets and a file: each as among its own kind, on its part of the band."""
    air = named_air("tdl-a", speed_mps=3.0, fidelity=fidelity, digital=DigitalConfig())
    mixed, plain = air.build(LINK, 12.0), named_air("tdl-a", speed_mps=3.0, fidelity=fidelity)
    symbols, packets = frame("symbols", symbols=300), replace(token_frame(), sender="packets")
    file = file_frame(torch.full((4,), 9e3), "file")
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
        air.transmit([frame("b"), token_frame()], seed=0)
