"""Learning-rate schedules, as ``transformers.get_scheduler`` names and defines them.

Importing that takes three seconds and 200 MB, which a process of devices would need for nothing
else; a test compares the two.
"""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from tokcom_core.systems import Training


def make_schedule(optimizer: Optimizer, training: Training) -> LambdaLR:
    """The schedule of a phase: a linear warm-up, then what its name says."""
    warmup, steps = training.warmup_steps, training.steps
    lowest = min(training.min_learning_rate, training.learning_rate) / training.learning_rate

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        if training.schedule == "constant_with_warmup":
            return 1.0
        if training.schedule == "linear":
            return max(0.0, (steps - step) / max(1, steps - warmup))
        progress = (step - warmup) / max(1, steps - warmup)
        cosine = 0.5 * (1.0 + math.cos(math.pi * progress))
        return max(0.0, cosine * (1 - lowest) + lowest)

    return LambdaLR(optimizer, factor)
