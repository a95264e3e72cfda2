"""Costs of training on the air, in both directions, from the steps of a cell's phases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from actors import interval_s
from channel_models import Link

from ..plan.specs import Cell, PhaseSpec, streams_of

Step = Mapping[str, Any]
"""Costs of one training step per sample, by the names of their columns in ``curves``."""


@dataclass(frozen=True)
class TrainingCosts:
    """What all samples of some training steps cost.

    Attributes:
        channel_uses: Data symbols of all devices.
        airtime_s: Airtime of the samples, one after the other; where many users train, the emulated
            time.
        energy_j: Energy that all devices radiated.
        uplink_bits: Information bits of packets, and control bits.
        downlink_bits: Bits of the gradients.
    """

    channel_uses: float = 0.0
    airtime_s: float = 0.0
    energy_j: float = 0.0
    uplink_bits: float = 0.0
    downlink_bits: float = 0.0

    def __add__(self, other: TrainingCosts) -> TrainingCosts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return TrainingCosts(*(one + another for one, another in pairs))


def training_columns(cell: Cell, steps: Iterable[Step]) -> dict[str, float]:
    """The columns of ``results`` about training, over all phases of a cell.

    Args:
        cell: The cell.
        steps: Its rows of ``curves``.
    """
    of_phase: dict[str, list[Step]] = {}
    for step in steps:
        of_phase.setdefault(step["phase"], []).append(step)
    total = TrainingCosts()
    for spec in cell.trained.lineage:
        total += phase_costs(spec, cell.crossing.link, of_phase.get(spec.phase, []))
    return {f"train_{name}": value for name, value in vars(total).items()}


def phase_costs(spec: PhaseSpec, link: Link, steps: Sequence[Step]) -> TrainingCosts:
    """Costs of the steps of a phase on a link; a phase that does not cross the air has none."""
    if spec.crossing is None:
        return TrainingCosts()
    link = spec.user_link(link)
    total = TrainingCosts()
    for step in steps:
        total += _step_costs(spec, link, step)
    emulated_s = steps[-1].get("emulated_s") if steps else None
    return total if emulated_s is None else replace(total, airtime_s=emulated_s)


def divergence(cell: Cell, steps: Iterable[Step]) -> str:
    """Where the training of a cell diverged: its first loss that is not finite.

    It is empty if all are finite. Later losses follow from the first, and are not reported.

    Args:
        cell: The cell.
        steps: Its rows of ``curves``, in their order.
    """
    losses = {spec.phase: spec.definition.losses for spec in cell.trained.lineage}
    for step in steps:
        for name in losses.get(step["phase"], ()):
            loss = step.get(name)
            if loss is not None and not math.isfinite(loss):
                return f"{name} of phase {step['phase']} is {loss} at step {step['step']}"
    return ""


def longest_step(spec: PhaseSpec, link: Link) -> Step:
    """A step of a phase whose samples are as long as possible, as token symbols on a link.

    Where many users train, all their intervals are full.
    """
    phase = spec.definition
    population = None if spec.crossing is None else spec.crossing.population
    samples = phase.batch_size if population is None else population.whole_batch(phase.batch_size)
    streams = streams_of(spec.system, spec.task, spec.tokens, phase)
    crossing = {stream.name: stream for stream in streams if stream.name in phase.crossing}
    longest: dict[str, float] = {
        "samples": samples,
        **{
            f"channel_uses_{name}": float(own.max_tokens * own.symbols_per_token)
            for name, own in crossing.items()
        },
    }
    if population is not None:
        intervals = math.ceil(samples / min(population.users_at_once, population.users))
        own_link = spec.user_link(link)
        longest["emulated_s"] = intervals * interval_s(own_link, list(crossing.values()))
    return longest


def _step_costs(spec: PhaseSpec, link: Link, step: Step) -> TrainingCosts:
    samples = step.get("samples")
    if not samples:
        return TrainingCosts()
    phase = spec.definition
    device = {s.name: s.device for s in streams_of(spec.system, spec.task, spec.tokens, phase)}
    senders = [device[name] for name in phase.crossing]
    uses = [step.get(f"channel_uses_{name}") or 0.0 for name in phase.crossing]
    power_dbm = step.get("tx_power_dbm")
    if power_dbm is not None:
        link = link.model_copy(update={"tx_power_dbm": power_dbm})
    costs = link.costs(uses, len(set(senders)))
    return TrainingCosts(
        channel_uses=samples * sum(uses),
        airtime_s=1e-3 * samples * link.joint_airtime_ms(senders, costs),
        energy_j=1e-3 * samples * sum(cost.energy_mj for cost in costs),
        uplink_bits=samples * (step.get("uplink_bits") or 0.0),
        downlink_bits=samples * (step.get("gradient_bits") or 0.0),
    )
