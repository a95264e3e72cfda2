"""Optuna's search, for which trials that ASHA stops are pruned ones."""

from __future__ import annotations

from typing import Any

from ray.tune.search.optuna import OptunaSearch


class PrunedOptunaSearch(OptunaSearch):  # type: ignore[misc]
    """Learns from the validation losses of trials that have ended.

    A trial that is stopped early only has a training loss, which is not comparable. Optuna's
    samplers rank it as pruned, below those that have ended.
    """

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        told = result is not None and "status" in result  # by a trial that has ended by itself
        super().on_trial_complete(trial_id, result if told else None, error)
