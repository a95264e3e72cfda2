"""Costs and reports of training steps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import torch

from channel_models import Frame, Reception, mean_db

from .messages import SampleLog, StepPart, StepReport

GRADIENT_BITS = 32
"""Bits of each value of a gradient."""


def step_costs(
    frames: Sequence[Frame], receptions: Sequence[Reception], logs: Mapping[str, SampleLog]
) -> dict[str, float]:
    """Costs of one training step on the air, per sample of the step; none if nothing crosses it.

    - ``samples``: number of samples of the step;
    - ``channel_uses_STREAM``: data symbols of each stream;
    - ``uplink_bits``: information bits of packets, and the power scales that are sent;
    - ``gradient_bits``: the gradient that returns: two values for each token symbol, and one for a
      power scale that was sent. Nothing returns for files, nor for samples that sent nothing or
      were lost;
    - ``tx_power_dbm``: mean transmit power of the devices over their airtime; only there if it is
      not the link's.

    Args:
        frames: Frames that cross the air.
        receptions: Their receptions.
        logs: Receptions of the streams of many users, by name.
    """
    if not frames:
        return {}
    samples = max(len(frame.scale) for frame in frames)
    parts = [len(frame.scale) / samples for frame in frames]  # a small split has fewer
    costs = [reception.overhead for reception in receptions]
    airtime_ms = sum(part * cost.airtime_ms for part, cost in zip(parts, costs, strict=True))
    budgeted = airtime_ms > 0 and any("tx_power_dbm" in r.location for r in receptions)
    energy_mj = sum(part * cost.energy_mj for part, cost in zip(parts, costs, strict=True))
    return {
        "samples": float(samples),
        **{
            f"channel_uses_{frame.stream}": part * cost.data_channel_uses
            for frame, part, cost in zip(frames, parts, costs, strict=True)
        },
        "uplink_bits": sum(
            part * (cost.payload_bits + cost.control_bits)
            for part, cost in zip(parts, costs, strict=True)
        ),
        "gradient_bits": sum(
            part * GRADIENT_BITS * _mean_gradient(frame, logs.get(frame.stream))
            for frame, part in zip(frames, parts, strict=True)
            if frame.transport != "file"
        ),
        **({"tx_power_dbm": 10 * math.log10(1e3 * energy_mj / airtime_ms)} if budgeted else {}),
    }


def merge_reports(reports: Sequence[StepReport], parts: Sequence[StepPart]) -> StepReport:
    """Merges the reports of a step's parts into the losses and costs of the whole batch.

    A loss that a part lacks, because nothing of it arrived, is the mean over the other parts.
    """
    if len(reports) == 1:
        return reports[0]
    losses, costs = [r.losses for r in reports], [r.costs for r in reports]
    return StepReport(
        {
            name: _merged(name, losses, [part.fractions.get(name, part.fraction) for part in parts])
            for name in _names(losses)
        },
        {name: _merged(name, costs, [part.fraction for part in parts]) for name in _names(costs)},
    )


def _names(parts: Sequence[Mapping[str, float]]) -> Iterable[str]:
    return dict.fromkeys(name for part in parts for name in part)


def _merged(name: str, parts: Sequence[Mapping[str, float]], fractions: Sequence[float]) -> float:
    pairs = [(part[name], n) for part, n in zip(parts, fractions, strict=True) if name in part]
    if name == "samples":
        return sum(value for value, _ in pairs)
    pairs = [pair for pair in pairs if pair[1]] or [(value, 1.0) for value, _ in pairs]
    total = sum(n for _, n in pairs)
    weights = [n / total for _, n in pairs]
    values = [value for value, _ in pairs]
    if name == "tx_power_dbm":
        return mean_db(values, torch.tensor(weights, dtype=torch.float64))
    return sum(value * weight for value, weight in zip(values, weights, strict=True))


def _mean_gradient(frame: Frame, log: SampleLog | None) -> float:
    """Mean number of values per sample whose gradient returns."""
    sent = frame.valid.any(1)
    back = sent if log is None else log.received.to(sent.device)
    values = (2 * frame.valid.sum(1) + frame.sends_scale) * back
    return float(values.double().mean())
