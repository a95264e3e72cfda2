"""Reports of a running spec."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from statistics import fmean
from typing import Any

Report = Callable[[dict[str, Any]], None]
"""Called with plain values: ``step`` of ``steps``, and what was measured there."""

REPORT_EVERY = 25
"""Number of steps between reports."""


def ignore(report: dict[str, Any]) -> None:
    """Ignores reports."""


class TrainingReporter:
    """Reports the mean losses of a training, every few steps and after the last one.

    A mean is over the steps since the previous report.

    Args:
        report: Called with each report.
        steps: Number of steps of the training.
        batch_size: Number of samples of a step.
        losses: Names of the losses that are reported, of all that is measured in a step.
    """

    def __init__(
        self, report: Report, steps: int, batch_size: int, losses: Collection[str]
    ) -> None:
        self._report = report
        self._losses = set(losses)
        self._steps = steps
        self._batch_size = batch_size
        self._begun = time.monotonic()
        self._last: tuple[int, float] | None = None
        self._since: dict[str, list[float]] = {}

    def __call__(self, step: int, measured: dict[str, float]) -> None:
        """Called after every step, with the number of steps done and what the last one measured.

        The first call may come from the middle of a training that is resumed.
        """
        if self._last is None:
            self._last = step - 1, self._begun
        for name in self._losses & measured.keys():
            self._since.setdefault(name, []).append(measured[name])
        if step % REPORT_EVERY and step != self._steps:
            return
        before, since = self._last
        now = time.monotonic()
        self._last = step, now
        samples = max(0, step - before) * self._batch_size  # a rollback goes back in steps
        rate = samples / max(now - since, 1e-9)
        losses = {name: fmean(values) for name, values in self._since.items()}
        self._since.clear()
        self._report({"step": step, "steps": self._steps, "samples_per_s": rate, **losses})
