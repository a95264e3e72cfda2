"""PHY abstraction: from the SINR of many symbols to an effective SINR and a block error rate.

It uses Sionna SYS's exponential effective SINR mapping and BLER tables, for one user at a time.

Shapes: ``B`` samples, ``K`` packets of a sample, ``S`` symbols of a packet.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..power import to_db
from ..sionna_api import EESM, PHYAbstraction
from .modem import MCS_COUNT, MCS_TABLE, PDSCH, packet_symbols

_MIN_SINR = 1e-6
_MARGIN = 10 ** (-0.5 / 10)
"""Sionna's tables, interpolated between SNRs 1.6 dB apart, are optimistic by 0.5 dB on average."""
_LAST_DB = 25.0
"""SNR at which Sionna's curves end. It keeps their last values, up to .4 at MCS 27, beyond."""


@lru_cache(maxsize=4)
def _tables(device: str) -> tuple[EESM, PHYAbstraction]:
    return (
        EESM(precision="single", device=device),
        PHYAbstraction(precision="single", device=device),
    )


def effective_sinr(sinr: Tensor, mcs: Tensor) -> Tensor:
    """Linear effective SINR ``[...]`` of the symbols' SINRs ``[..., S]`` at MCS ``[...]``.

    An SINR of zero stands for a symbol that is not sent.
    """
    mapping, _ = _tables(str(sinr.device))
    shaped = torch.where(sinr > 0, sinr.clamp(min=_MIN_SINR), 0)[..., None, :, None, None]
    effective: Tensor = mapping(
        shaped, mcs_index=mcs.to(torch.int32)[..., None], mcs_table_index=MCS_TABLE
    )
    return effective[..., 0]


def block_error_rate(sinr: Tensor, mcs: Tensor, symbols: Tensor) -> Tensor:
    """BLER ``[...]`` of transport blocks of ``symbols`` symbols at effective SINRs ``[...]``.

    Beyond the SNR at which a curve of Sionna ends, its logarithm falls on as over the last dB. The
    BLER is 1 where Sionna has no table for the MCS.
    """
    sinr = _MARGIN * sinr
    rate = _tabulated_rate(sinr, mcs, symbols)
    beyond_db = (to_db(sinr) - _LAST_DB).clamp(min=0.0)
    if not (beyond_db > 0).any():
        return rate
    before, last = (
        _tabulated_rate(torch.full_like(sinr, 10 ** (snr_db / 10)), mcs, symbols)
        for snr_db in (_LAST_DB - 1.0, _LAST_DB)
    )
    falls = torch.where(last > 0, last / before, 0.0).clamp(max=1.0)
    return torch.where(beyond_db > 0, last * falls**beyond_db, rate)


def _tabulated_rate(sinr: Tensor, mcs: Tensor, symbols: Tensor) -> Tensor:
    _, abstraction = _tables(str(sinr.device))
    *_, rate, _ = abstraction(
        mcs.to(torch.int32)[..., None],
        sinr_eff=sinr[..., None],
        num_allocated_re=symbols.to(torch.int32)[..., None],
        mcs_table_index=MCS_TABLE,
        mcs_category=PDSCH,
        check_mcs_index_validity=False,
    )
    return torch.nan_to_num(rate[..., 0], nan=1.0, posinf=1.0).clamp(0.0, 1.0)


def adapt_mcs(
    sinr: Tensor,
    payload_bits: Tensor,
    bler_targets: Tensor,
    choices: Sequence[int],
    possible: Tensor,
) -> Tensor:
    """The highest possible MCS ``[B]`` whose BLER meets the target; if none does, the lowest.

    The sender is taken to know the channel, as in Sionna SYS's inner-loop link adaptation.

    Args:
        sinr: Linear SINR of some symbols ``[B, S]``.
        payload_bits: Payload of each sample's packets, ``[B]``.
        bler_targets: Block error rates to aim at, ``[B]``.
        choices: MCS indices to choose from, ascending.
        possible: bool ``[B, choices]``, whether an MCS can code a sample's packets.
    """
    mcs = torch.tensor(choices, device=sinr.device).expand(len(sinr), -1)
    symbols = packet_symbols(payload_bits[:, None], mcs)
    effective = effective_sinr(sinr[:, None].expand(-1, len(choices), -1), mcs)
    good = block_error_rate(effective, mcs, symbols) <= bler_targets[:, None]
    lowest = torch.where(possible, mcs, MCS_COUNT).min(1, keepdim=True).values
    return torch.where(good & possible, mcs, lowest).max(1).values


@lru_cache(maxsize=4)
def usable_mcs(device: str) -> tuple[int, ...]:
    """MCS indices that Sionna has BLER tables for."""
    mcs = torch.arange(MCS_COUNT, device=device)
    rate = block_error_rate(
        torch.full((MCS_COUNT,), 1e4, device=device), mcs, torch.full_like(mcs, 600)
    )
    return tuple(m for m in range(MCS_COUNT) if float(rate[m]) < 0.5)
