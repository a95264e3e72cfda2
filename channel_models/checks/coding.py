"""Coded packets: block error rates of the code, and of the tables that replace decoding."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..catalogue.names import named_air
from ..digital.abstraction import block_error_rate, usable_mcs
from ..digital.modem import Modem, modem, packet
from ..numerology import Link
from ..sionna_api import LDPC5GDecoder, LDPC5GEncoder
from .check import Check, Curve, send


def ldpc_on_awgn() -> Iterator[Check]:
    """5G LDPC, k = 64, n = 128, QPSK, 20 iterations: BLER as in Sionna's notebook."""
    encoder = LDPC5GEncoder(64, 128, precision="single", device="cpu")
    decoder = LDPC5GDecoder(encoder, num_iter=20, hard_out=True, precision="single", device="cpu")
    radio = modem(packet(64, 3), "cpu")
    curve = Curve("ldpc on awgn", "block error rate", "Eb/N0 (dB)")
    for ebn0_db, expected in ((1.0, 5.0e-1), (2.0, 1.55e-1), (3.0, 2.3e-2)):
        generator = torch.Generator().manual_seed(3)
        bits = torch.randint(0, 2, (6000, 64), generator=generator).float()
        coded = encoder(bits).reshape(6000, 64, 2)
        symbols = torch.view_as_complex(((1 - 2 * coded) / math.sqrt(2)).contiguous())
        air = named_air("awgn").build(Link(), ebn0_db)  # one bit a symbol: R m = 1
        got, noise_var, _ = send(air, symbols, seed=5)
        lost = (decoder(radio.soft_bits(got, noise_var)) != bits).any(1).double()
        check = curve.check_mean(ebn0_db, lost, expected)
        rounding = 0.03 * expected  # the reference has two digits
        yield replace(check, tolerance=check.tolerance + rounding)


def phy_abstraction() -> Iterator[Check]:
    """SNR at which half the packets are lost: Sionna SYS's tables against decoding every packet.

    The tolerance is 0.75 dB, as the tables are sampled 1.6 dB apart.
    """
    curve = Curve("phy abstraction", "SNR (dB) at BLER 0.5", "MCS")
    for mcs in (4, 10, 19, 24):
        assert mcs in usable_mcs("cpu")
        radio = modem(packet(528, mcs), "cpu")
        generator = torch.Generator().manual_seed(mcs)
        bits = torch.randint(0, 2, (120, 528), generator=generator)
        grid = np.arange(-4.0, 28.0, 0.25)
        tables = block_error_rate(
            torch.tensor(10 ** (grid / 10)).float(),
            torch.full((len(grid),), mcs),
            torch.full((len(grid),), radio.packet.symbols),
        )
        by_table = float(grid[int((tables < 0.5).float().argmax())])
        by_link = next(
            snr_db
            for snr_db in grid[grid >= by_table - 2.0]
            if _packet_loss(radio, bits, float(snr_db)) < 0.5
        )
        yield curve.check(mcs, by_table, by_link, 0.75)


def _packet_loss(radio: Modem, bits: Tensor, snr_db: float) -> float:
    air = named_air("awgn").build(Link(), snr_db)
    got, noise_var, _ = send(air, radio.modulate(bits), seed=21)
    _, intact = radio.decode(radio.soft_bits(got, noise_var))
    return 1 - float(intact.double().mean())
