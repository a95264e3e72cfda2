"""Learning-rate schedules, as ``transformers.get_scheduler`` names and defines them.

Importing ``transformers`` takes three seconds and 200 MB, and a process of devices needs it for
nothing else. A test compares the two.
"""

from __future__ import annotations

import math

from tokcom_core.systems import Training


def learning_rate_at(step: int, training: Training) -> float:
    """The learning rate of a phase at a step: a linear warm-up, then the named schedule.

    Args:
        step: Number of steps before it.
        training: Peak learning rate, schedule and number of steps.
    """
    return training.learning_rate * _factor(step, training)


def _factor(step: int, training: Training) -> float:
    warmup, steps = training.warmup_steps, training.steps
    if step < warmup:
        return step / max(1, warmup)
    if training.schedule == "constant_with_warmup":
        return 1.0
    if training.schedule == "linear":
        return max(0.0, (steps - step) / max(1, steps - warmup))
    lowest = min(training.min_learning_rate, training.learning_rate) / training.learning_rate
    progress = (step - warmup) / max(1, steps - warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
    return max(0.0, cosine * (1 - lowest) + lowest)
