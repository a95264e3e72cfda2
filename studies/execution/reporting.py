"""Reports of a running training."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Report = Callable[[dict[str, Any]], None]
"""Called with plain values: ``step`` of ``steps``, the losses and ``samples_per_s``."""

REPORT_EVERY = 25
"""Number of steps between reports."""


def ignore(report: dict[str, Any]) -> None:
    """Ignores reports."""


class TrainingReporter:
    """Reports every few steps of a training, and the last.

    Args:
        report: Called with each report.
        steps: Number of steps of the training.
        batch_size: Number of samples of a step.
    """

    def __init__(self, report: Report, steps: int, batch_size: int) -> None:
        self._report = report
        self._steps = steps
        self._batch_size = batch_size
        self._last = (0, time.monotonic())

    def __call__(self, step: int, losses: dict[str, float]) -> None:
        """Called with the number of steps done and the losses of the last one."""
        if step % REPORT_EVERY and step != self._steps:
            return
        before, since = self._last
        now = time.monotonic()
        self._last = step, now
        samples = max(0, step - before) * self._batch_size  # a rollback goes back in steps
        rate = samples / max(now - since, 1e-9)
        self._report({"step": step, "steps": self._steps, "samples_per_s": rate, **losses})
