"""The evaluation of a split: the answers to its batches, merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import torch

from channel_models import mean_db

from .messages import Answers, Arrival


@dataclass(frozen=True)
class Evaluation:
    """Result of one pass over a split.

    Attributes:
        predicted: Text of each answer.
        scores: Score of each answer by its task, from 0 to 1.
        first_token: Whether the first token of each answer is the true one's.
        losses: Mean test losses, by name.
        arrivals: Reception of each stream, means over samples.
        interval_ms, feedback_bits: Mean airtime and downlink bits of a sample, see
            :class:`.messages.Answers`.
    """

    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    first_token: tuple[bool, ...]
    losses: dict[str, float]
    arrivals: dict[str, Arrival]
    interval_ms: float
    feedback_bits: float = 0.0


def merge_answers(answered: Sequence[Answers], counts: Sequence[int]) -> Evaluation:
    """Merges the answers to batches of ``counts`` samples; SNRs are averaged linearly."""
    weights = torch.tensor(counts, dtype=torch.float64) / sum(counts)

    def mean(values: list[float]) -> float:
        return float((torch.tensor(values, dtype=torch.float64) * weights).sum())

    def merged(parts: list[Any], name: str = "") -> Any:
        """The mean of every number in records of one kind."""
        first = parts[0]
        if isinstance(first, dict):
            return {key: merged([p[key] for p in parts], key) for key in first}
        if is_dataclass(first) and not isinstance(first, type):
            names = [f.name for f in fields(first)]
            return replace(first, **{n: merged([getattr(p, n) for p in parts], n) for n in names})
        if isinstance(first, str):
            return first
        return mean_db(parts, weights) if name.endswith(("snr_db", "sinr_db")) else mean(parts)

    return Evaluation(
        predicted=tuple(text for a in answered for text in a.predicted),
        scores=tuple(score for a in answered for score in a.scores),
        first_token=tuple(hit for a in answered for hit in a.first_token),
        losses=merged([a.losses for a in answered]),
        arrivals=merged([a.arrivals for a in answered]),
        interval_ms=mean([a.interval_ms for a in answered]),
        feedback_bits=mean([a.feedback_bits for a in answered]),
    )
