"""Link adaptation on channels that move: an MCS for each slot.

Shapes: ``B`` samples, ``K`` packets of a sample, ``L`` looks (instants at which the channel is
looked at), ``P`` points of the band.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..numerology import SYMBOLS_PER_SLOT
from ..reception.linear import LinearAir
from .harq import HarqTransmission, silent_frame
from .modem import packet_symbols
from .probe import Probe, max_rows, sinr_of, subcarriers_per_sender

_POINTS = 32
_MAX_LOOKS = 512
_CHOICES_AT_ONCE = 4096

Choice = Callable[[Tensor], Tensor]
"""Chooses the MCS ``[B, L]`` of a transmission at each look, from SINRs ``[B, L, P]``."""


def adapt_by_slot(
    air: LinearAir, transmissions: Sequence[HarqTransmission], choices: Sequence[Choice], seed: int
) -> None:
    """Gives every packet the MCS of the slot it begins in.

    That MCS is chosen for the channel at the beginning of the slot. How many slots are needed
    depends on the MCSs themselves: the number of slots looked at grows until all packets fit in
    them. If there are too many slots, several consecutive ones share an MCS.

    Args:
        air: The air that the packets cross.
        transmissions: Packets of all frames of the interval.
        choices: For each transmission, the function that chooses its MCS.
        seed: Seed of the interval.
    """
    link, max_looks = air.link, min(_MAX_LOOKS, max_rows(air, transmissions))
    subcarriers = subcarriers_per_sender(air, transmissions)
    slot_symbols = subcarriers * len(link.data_positions)
    horizon, needed = 0, 1
    while needed > horizon:
        horizon = max(needed, 5 * horizon // 4)
        span = math.ceil(horizon / max_looks)
        probe = Probe(link, subcarriers, SYMBOLS_PER_SLOT * span)
        looks = math.ceil(horizon / span)
        symbols = [
            _assign(s, sinr, choose, span * slot_symbols)
            for s, sinr, choose in zip(
                transmissions, _look(air, transmissions, probe, looks, seed), choices, strict=True
            )
        ]
        needed = math.ceil(max(symbols) / slot_symbols)


def _look(
    air: LinearAir, transmissions: Sequence[HarqTransmission], probe: Probe, looks: int, seed: int
) -> list[Tensor]:
    """SINR ``[B, L, P]`` of each transmission at each row of a probe."""
    count = looks * probe.subcarriers
    frames = [
        silent_frame(s.frame, torch.full_like(s.packet_bits, count), stride=probe.stride)
        for s in transmissions
    ]
    points = torch.linspace(0, probe.subcarriers - 1, _POINTS).long()
    outputs = air.propagate(frames, seed)
    return [
        sinr_of(output, frame).unflatten(1, (looks, -1))[..., points]
        for output, frame in zip(outputs, frames, strict=True)
    ]


def _assign(transmission: HarqTransmission, sinr: Tensor, choose: Choice, span: int) -> float:
    """Sets the MCS of all packets; all that begin after the last look get the last look's MCS.

    Args:
        transmission: The transmission that the packets belong to.
        sinr: SINR at each look, ``[B, L, P]``.
        choose: Chooses the MCS.
        span: Number of data symbols from one look to the next.

    Returns:
        number of symbols of the longest sample.
    """
    s = transmission
    number = (s.due.cumsum(1) - 1).clamp(min=0)
    packets, last = s.due.sum(1), sinr.shape[1] - 1
    assigned, sent = torch.zeros_like(packets), torch.zeros_like(packets)
    at_once = max(1, _CHOICES_AT_ONCE // len(sinr))
    chosen = (mcs for some in sinr.split(at_once, dim=1) for mcs in choose(some).unbind(1))
    for look, mcs in enumerate(chosen):
        size = packet_symbols(s.packet_bits, mcs)
        left = packets - assigned
        begins = torch.ceil(((look + 1) * span - sent).clamp(min=0) / size).long()
        more = left if look == last else torch.minimum(left, begins)
        s.mcs = torch.where(number >= assigned[:, None], mcs[:, None], s.mcs)
        assigned, sent = assigned + more, sent + more * size
        if bool((assigned == packets).all()):
            break
    return float(sent.max())
