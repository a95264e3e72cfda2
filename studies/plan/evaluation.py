"""How cells are evaluated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tokcom_core.config import Config

Metric = Literal["exact", "first_token"]


class EvaluationConfig(Config):
    """Evaluation of cells on test questions.

    With the metric ``exact``, ``accuracy`` is the mean of the task's scores of generated answers
    (for most tasks, whether they equal the true one). With ``first_token``, it is the fraction of
    answers that begin with the true one's first token. Answers longer than ``max_answer_tokens``
    are cut.
    """

    metric: Metric = "exact"
    max_answer_tokens: int = Field(default=8, ge=1)
    batch_size: int = Field(default=128, ge=1)
    questions: int | None = Field(default=None, ge=1)
