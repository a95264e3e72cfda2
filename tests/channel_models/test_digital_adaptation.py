"""Link adaptation and retransmissions of digital links."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from channel_models import DigitalConfig, named_air
from channel_models.digital.abstraction import (
    adapt_mcs,
    block_error_rate,
    effective_sinr,
    usable_mcs,
)
from channel_models.digital.modem import packet, packet_symbols
from channel_models.testing import LINK, frame

from .packets import TEXT_BITS, digital_air, file_frame, token_frame


def test_link_adaptation_trades_symbols_for_safety() -> None:
    sent = token_frame(batch=200)
    uses, losses = [], []
    for target in (0.5, 0.1, 0.01):
        (got,) = digital_air("rayleigh", 15.0, bler_target=target).transmit([sent], seed=4)
        uses.append(got.overhead.data_channel_uses)
        losses.append(float(got.erased[sent.valid].double().mean()))
    assert uses[0] < uses[1] < uses[2]
    assert losses[0] > losses[1] >= losses[2]
    (better,) = digital_air("rayleigh", 25.0).transmit([sent], seed=4)
    assert better.overhead.data_channel_uses < uses[1]


@pytest.mark.parametrize("bits", [48, 272, 8000])
def test_error_rates_fall_on_where_sionnas_curves_end(bits: int) -> None:
    """It keeps the last value of a curve for ever; no packet is lost without noise."""
    mcs = torch.tensor(usable_mcs("cpu"))
    symbols = packet_symbols(torch.full_like(mcs, bits), mcs)
    snrs_db = torch.arange(15.0, 60.0, 0.5).tolist()
    rates = torch.stack(
        [
            block_error_rate(torch.full(mcs.shape, 10 ** (snr_db / 10)), mcs, symbols)
            for snr_db in [*snrs_db, math.inf]
        ]
    )
    assert (rates[1:] <= rates[:-1] + 0.01).all()
    assert (rates[snrs_db.index(45.0)] < 1e-3).all()
    assert (rates[-1] == 0).all()
    end = snrs_db.index(25.5)
    torch.testing.assert_close(rates[end], rates[end + 1], rtol=1, atol=0.1)
    assert (rates[end, -2:] > rates[end + 4, -2:]).all()


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
    sent = token_frame(batch=8)

    def lost(retransmissions: int) -> float:
        settings = {"fidelity": fidelity, "mcs": 4, "retransmissions": retransmissions}
        (got,) = digital_air("awgn", 0.5, **settings).transmit([sent], seed=1)
        return float(got.erased[sent.valid].double().mean())

    assert lost(0) > 0.9
    assert lost(1) < 0.2


@pytest.mark.parametrize("fidelity", ["abstract", "link"])
def test_a_retransmission_saves_packets_and_costs_symbols(fidelity: str) -> None:
    sent = token_frame(batch=60)
    once, twice = (
        digital_air("rayleigh", 8.0, fidelity=fidelity, mcs=8, retransmissions=n).transmit(
            [sent], seed=5
        )[0]
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
    sent = file_frame(torch.full((3,), TEXT_BITS))
    once, twice = (
        digital_air("awgn", -20.0, mcs=4, retransmissions=n).transmit([sent], seed=1)[0]
        for n in (0, 1)
    )
    assert twice.overhead.data_channel_uses == 2 * 286
    for cost in ("airtime_ms", "pilot_channel_uses", "energy_mj"):
        alone = getattr(once.overhead, cost)
        assert getattr(twice.overhead, cost) == pytest.approx(2 * alone), cost
    assert twice.overhead.control_bits == once.overhead.control_bits
    assert (twice.waiting_ms == 8.0).all()


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
