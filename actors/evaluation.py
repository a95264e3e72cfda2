"""The evaluation of a split: the answers to its batches, merged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from channel_models import Overhead, mean_db

from .messages import Answers, ReceptionSummary


@dataclass(frozen=True)
class Evaluation:
    """Result of one pass over a split.

    Attributes:
        predicted: Text of each answer.
        scores: Score of each answer by its task, from 0 to 1.
        first_token: Whether the first token of each answer is the true one's.
        losses: Mean test losses, by name.
        streams: Reception of each stream, means over samples.
        airtime_ms, waiting_ms, feedback_bits: Mean airtime, waiting time and downlink bits of a
            sample, see :class:`.messages.Answers`.
    """

    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    first_token: tuple[bool, ...]
    losses: dict[str, float]
    streams: dict[str, ReceptionSummary]
    airtime_ms: float
    waiting_ms: float = 0.0
    feedback_bits: float = 0.0


def merge_answers(answered: Sequence[Answers], counts: Sequence[int]) -> Evaluation:
    """Merges the answers to batches of ``counts`` samples, as if they had been a single batch.

    SNRs are averaged on the linear scale.
    """
    streams = {name: [a.streams[name] for a in answered] for name in answered[0].streams}
    return Evaluation(
        predicted=tuple(text for a in answered for text in a.predicted),
        scores=tuple(score for a in answered for score in a.scores),
        first_token=tuple(hit for a in answered for hit in a.first_token),
        losses=_merge_losses(answered, counts),
        streams={name: _merge_summaries(parts, counts) for name, parts in streams.items()},
        airtime_ms=_mean([a.airtime_ms for a in answered], counts),
        waiting_ms=_mean([a.waiting_ms for a in answered], counts),
        feedback_bits=_mean([a.feedback_bits for a in answered], counts),
    )


def _merge_losses(answered: Sequence[Answers], counts: Sequence[int]) -> dict[str, float]:
    def sizes(name: str) -> list[int]:
        pairs = zip(answered, counts, strict=True)
        return [a.loss_counts.get(name, count) for a, count in pairs]

    names = answered[0].losses
    return {name: _mean([a.losses[name] for a in answered], sizes(name)) for name in names}


def _merge_summaries(parts: Sequence[ReceptionSummary], counts: Sequence[int]) -> ReceptionSummary:
    """Averages each number over what it counts: samples, those that send something, or tokens."""
    pairs = list(zip(parts, counts, strict=True))
    sending = [count * part.sent_fraction for part, count in pairs]
    sent = [count * part.tokens for part, count in pairs]
    costs = [asdict(part.overhead) for part in parts]
    return ReceptionSummary(
        sender=parts[0].sender,
        tokens=_mean([p.tokens for p in parts], counts),
        realised_snr_db=_mean_snr([p.realised_snr_db for p in parts], counts),
        sinr_db=_mean_snr([p.sinr_db for p in parts], sending),
        erased_fraction=_mean([p.erased_fraction for p in parts], sent),
        lost_fraction=_mean([p.lost_fraction for p in parts], sending),
        sent_fraction=_mean([p.sent_fraction for p in parts], counts),
        overhead=Overhead(**{n: _mean([cost[n] for cost in costs], counts) for n in costs[0]}),
        location={n: _mean([p.location[n] for p in parts], counts) for n in parts[0].location},
    )


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    kept, shares = _weighed(values, weights)
    return float((kept * shares).sum())


def _mean_snr(values_db: Sequence[float], weights: Sequence[float]) -> float:
    return mean_db(*_weighed(values_db, weights))


def _weighed(values: Sequence[float], weights: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Values whose weight is not zero, and their weights, scaled to add up to 1.

    If all weights are zero, the values weigh alike.
    """
    kept = torch.tensor(values, dtype=torch.float64)
    shares = torch.tensor(weights, dtype=torch.float64)
    if not shares.any():
        shares = torch.ones_like(shares)
    kept, shares = kept[shares > 0], shares[shares > 0]  # else inf * 0 is NaN
    return kept, shares / shares.sum()
