"""Phases: the trainings that a system consists of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

Schedule = Literal["cosine_with_min_lr", "linear", "constant_with_warmup"]
"""Name of a schedule of ``transformers.get_scheduler``."""


@dataclass(frozen=True)
class Training:
    """AdamW and its schedule in one phase, the same on devices and base station.

    Attributes:
        steps: Number of steps.
        learning_rate: Peak learning rate.
        schedule: Name of the learning rate's schedule.
        min_learning_rate: Final learning rate of ``cosine_with_min_lr``.
        warmup_steps: Number of warm-up steps.
        gradient_clip: Maximum gradient norm of each device, and of the base station; None does not
            clip.
        station_learning_rate: Peak learning rate of the base station; that of the devices by
            default.
        weight_decay: Weight decay of AdamW.

    Raises:
        ValueError: for no steps, or an unknown schedule.
    """

    steps: int
    learning_rate: float
    schedule: Schedule
    min_learning_rate: float = 1e-6
    warmup_steps: int = 0
    gradient_clip: float | None = 1.0
    station_learning_rate: float | None = None
    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"a training of {self.steps} steps should have at least one")
        if self.schedule not in get_args(Schedule):
            raise ValueError(
                f"no schedule {self.schedule!r}; take some of {', '.join(get_args(Schedule))}"
            )

    @property
    def at_station(self) -> Training:
        """The same training with the base station's learning rate."""
        rate = self.station_learning_rate
        return self if rate is None else replace(self, learning_rate=rate)


@dataclass(frozen=True)
class StreamInput:
    """A stream of a phase.

    Attributes:
        stream: Name of the stream.
        split: Split that its samples come from.
        over_air: Whether it crosses the air in a phase over the air. A stream that does not, such
            as a training target, is handed over exactly and costs nothing.
    """

    stream: str
    split: str
    over_air: bool = True


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One training of a system.

    Attributes:
        name: Name of the phase, unique in the system.
        inputs: Streams that are sent, in order; those of one split share their samples.
        training: Optimiser and number of steps.
        batch_size: Number of samples of a step.
        losses: Names of the losses that a step may report.
        over_air: Whether the streams cross the air; if they do not, all airs share the phase.
        snr_db: Average SNR of this phase; the study's by default.
        calibration_samples: Number of samples that the receiver sees before the first step, see
            :meth:`Receiver.calibrate`.
        drop_prob: Probability that a stream of ``dropped`` is left out of a sample.
        dropped: Streams that may be left out, each independently.
        any_tokens: Choices of token lengths by device; every step draws one of them. If empty,
            every step takes the token lengths that the devices are built for.
        aligned: Streams whose embeddings the losses bring together, the anchor first, see
            :meth:`Receiver.embeddings`; none in a phase that aligns nothing.
        micro_batch_size: Maximum number of samples that are sent and learnt from at once; the
            losses of a step are still those of the whole batch. None takes the batch whole.
    """

    name: str
    inputs: tuple[StreamInput, ...]
    training: Training
    batch_size: int
    losses: tuple[str, ...]
    over_air: bool = True
    snr_db: float | None = None
    calibration_samples: int = 0
    drop_prob: float = 0.0
    dropped: tuple[str, ...] = ()
    any_tokens: tuple[Mapping[str, int], ...] = ()
    aligned: tuple[str, ...] = ()
    micro_batch_size: int | None = None

    @property
    def crossing(self) -> tuple[str, ...]:
        """Names of the streams that cross the air, in order."""
        return tuple(item.stream for item in self.inputs if self.over_air and item.over_air)
