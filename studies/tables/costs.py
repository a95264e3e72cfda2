"""Costs of a condition: on the air, in compute, in gradients and exchanged weights."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from actors import GRADIENT_BITS, ReceptionSummary
from channel_models import mean_db
from tokcom_core.systems import devices_of

from ..plan.operations import operations_of, served_streams
from ..plan.specs import Cell, streams_of


def air_columns(streams: Sequence[ReceptionSummary]) -> dict[str, float]:
    """SNRs of some streams, averaged linearly, and the sums of their costs.

    ``airtime_ms`` is that of the senders one after the other. Streams that no sample has, such as
    the image of a task about texts, count in neither SNRs nor erasures.
    """
    costs = [stream.overhead for stream in streams]
    sent = [stream for stream in streams if stream.tokens] or streams
    return {
        "realised_snr_db": mean_db([stream.realised_snr_db for stream in sent]),
        "realised_sinr_db": mean_db([stream.sinr_db for stream in sent]),
        "erased_fraction": fmean(stream.erased_fraction for stream in sent),
        "uplink_channel_uses": sum(cost.data_channel_uses for cost in costs),
        "pilot_channel_uses": sum(cost.pilot_channel_uses for cost in costs),
        "control_bits": sum(cost.control_bits for cost in costs),
        "payload_bits": sum(cost.payload_bits for cost in costs),
        "airtime_ms": sum(cost.airtime_ms for cost in costs),
        "energy_mj": sum(cost.energy_mj for cost in costs),
    }


def ebn0_db(streams: Sequence[ReceptionSummary]) -> float | None:
    """Eb/N0 of the streams that are sent as packets; None if there are none."""
    packets = [stream for stream in streams if stream.overhead.payload_bits]
    if not packets:
        return None
    bits = sum(stream.overhead.payload_bits for stream in packets)
    uses = sum(stream.overhead.data_channel_uses for stream in packets)
    snr_db = mean_db([stream.realised_snr_db for stream in packets])
    return snr_db - 10 * math.log10(bits / uses)


def tokens_sent(streams: Iterable[ReceptionSummary]) -> dict[str, float]:
    """Mean number of tokens that each device sent for a sample."""
    found: dict[str, float] = {}
    for stream in streams:
        found[stream.sender] = found.get(stream.sender, 0.0) + stream.tokens
    return found


@dataclass(frozen=True)
class NetworkSizes:
    """Sizes of a network, from which compute and training traffic are counted, and its hardware.

    Attributes:
        windows: Mean number of the encoders' windows in a sample's media, by device and name of the
            features.
        devices: Number of trained weights of each device.
        hardware: What the base station runs on, see :meth:`actors.BaseStation.hardware`.
    """

    windows: Mapping[str, Mapping[str, float]]
    devices: Mapping[str, int]
    hardware: Mapping[str, str] = field(default_factory=dict)


def network_columns(
    cell: Cell, sizes: NetworkSizes, tokens: Mapping[str, float]
) -> dict[str, float]:
    """Compute of one sample, its time, and the bits that training sends besides the uplink.

    Args:
        cell: Cell of the condition.
        sizes: Sizes of the network.
        tokens: Mean number of tokens of each stream of a sample; streams that it does not have may
            be left out.
    """
    served = served_streams(cell.system, cell.task, cell.tested.tokens)
    sent = dict.fromkeys(devices_of(served), 0.0)
    for stream in served:
        sent[stream.device] += tokens.get(stream.name, 0.0)
    operations = operations_of(cell, sent, sizes.windows)
    return {
        "device_gflop": sum(operations.device_gflop.values()),
        "bs_gflop": operations.station_gflop,
        "device_ms": operations.device_ms(cell.compute),
        "station_ms": operations.station_ms(cell.compute),
        "downlink_bits": _downlink_bits(cell, sizes, tokens),
        "exchanged_bits": _exchanged_bits(cell, sizes),
    }


def _downlink_bits(cell: Cell, sizes: NetworkSizes, tokens: Mapping[str, float]) -> float:
    """Gradient bits of a training sample: two values for each symbol, one for each scale sent.

    They are 0 if no phase crosses the air, or no device trains: for references, and for files,
    which the station encodes.
    """
    served = served_streams(cell.system, cell.task, cell.tested.tokens)
    sent = [s for s in served if cell.crossing.transport.get(s.name) != "file"]
    crosses = any(spec.crossing is not None for spec in cell.trained.lineage)
    trains = crosses and any(sizes.devices.get(s.device) for s in sent)
    if cell.reference is not None or not trains:
        return 0.0
    symbols = sum(s.symbols_per_token * tokens.get(s.name, 0.0) for s in sent)
    return GRADIENT_BITS * (2 * symbols + sum(s.sends_scale for s in sent))


def _exchanged_bits(cell: Cell, sizes: NetworkSizes) -> float:
    """Bits of the weights that users and base station exchange in the whole training."""
    federation = cell.trained.federation
    if federation is None:
        return 0.0
    total = 0.0
    for spec in cell.trained.lineage:
        phase = spec.definition
        senders = devices_of(streams_of(spec.system, spec.task, spec.tokens, phase))
        weights = sum(sizes.devices.get(device, 0) for device in senders)
        total += federation.exchanged_bits(weights, phase.training.steps)
    return total
