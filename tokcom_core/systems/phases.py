"""Phases: the trainings that a system consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Training:
    """AdamW and its schedule in one phase, the same on devices and base station.

    Attributes:
        steps: Number of steps.
        learning_rate: Peak learning rate.
        schedule: Name of a schedule of ``transformers.get_scheduler``.
        min_learning_rate: Final learning rate of ``cosine_with_min_lr``.
        warmup_steps: Number of warm-up steps.
        gradient_clip: Maximum gradient norm of each device, and of the base station; None does not
            clip.
    """

    steps: int
    learning_rate: float
    schedule: Literal["cosine_with_min_lr", "linear", "constant_with_warmup"]
    min_learning_rate: float = 1e-6
    warmup_steps: int = 0
    gradient_clip: float | None = 1.0


@dataclass(frozen=True)
class StreamInput:
    """A stream of a phase, and the split that its samples come from."""

    stream: str
    split: str


@dataclass(frozen=True)
class Phase:
    """One training of a system.

    Attributes:
        name: Name of the phase, unique in the system.
        inputs: Streams that are sent, in order; those of one split share their samples.
        training: Optimiser and number of steps.
        batch_size: Number of samples of a step.
        losses: Names of the losses that a step may report.
        over_air: Whether the streams cross the air; a phase that does not is the same for all airs.
        snr_db: Average SNR of this phase; the study's by default.
        calibration_samples: Number of samples that the receiver sees before the first step, see
            :meth:`Receiver.calibrate`.
        drop_prob: Probability that a stream of ``dropped`` is left out of a sample.
        dropped: Streams that may be left out, each independently.
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
