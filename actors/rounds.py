"""Answers to one batch, which a system may give in several rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from channel_models import Frame, Link, Overhead, Reception
from tokcom_core.datasets.samples import Samples
from tokcom_core.systems import Feedback

from .messages import ReceptionSummary
from .reception import summarise


@dataclass
class AnswerSession:
    """One batch of questions until all of its answers are finished.

    Costs are means over all samples of the batch, including those that took fewer rounds.

    Attributes:
        samples: Samples that are asked about.
        corpus: All samples of their split, which some scores are relative to.
        streams: Reception of each stream. Tokens, their erased fraction and costs are those of all
            rounds; SNRs and the rest are those of the first.
        airtime_ms: Airtime of a sample in all rounds.
        waiting_ms: Time beyond that which a sample waits for retransmissions in all rounds.
        feedback_bits: Downlink bits of a sample's feedback.
    """

    samples: Samples
    corpus: Samples
    streams: dict[str, ReceptionSummary]
    airtime_ms: float
    waiting_ms: float = 0.0
    feedback_bits: float = 0.0

    def return_feedback(self, feedback: Feedback) -> None:
        """Counts the bits of feedback that the base station returns."""
        self.feedback_bits += feedback.bits * len(feedback.rows) / len(self.samples)

    def receive(self, frame: Frame, reception: Reception, link: Link) -> None:
        """Adds tokens and costs of a further frame of a stream, sent for some of the samples."""
        fraction = len(frame.scale) / len(self.samples)
        more = summarise(frame, reception)
        before = self.streams[frame.stream]
        tokens = before.tokens + fraction * more.tokens
        erased = before.erased_fraction * before.tokens
        erased += fraction * more.erased_fraction * more.tokens
        self.streams[frame.stream] = replace(
            before,
            tokens=tokens,
            erased_fraction=erased / max(tokens, 1e-9),
            overhead=_sum(before.overhead, more.overhead, fraction),
        )
        self.airtime_ms += fraction * joint_airtime_ms([frame], [reception], link)
        self.waiting_ms += fraction * waiting_ms([frame], [reception], link)


def joint_airtime_ms(frames: Sequence[Frame], receptions: Sequence[Reception], link: Link) -> float:
    """Mean airtime of a sample: of its slowest device, or of all devices (TDMA)."""
    senders = [frame.sender for frame in frames]
    return float(link.joint_airtimes_ms(senders, [r.airtime_ms for r in receptions]).mean())


def waiting_ms(frames: Sequence[Frame], receptions: Sequence[Reception], link: Link) -> float:
    """Mean time that a sample takes beyond its airtime: round trips before retransmissions."""
    senders = [frame.sender for frame in frames]
    airtimes_ms = [r.airtime_ms for r in receptions]
    return float(link.waits_ms(senders, airtimes_ms, [r.waiting_ms for r in receptions]).mean())


def _sum(before: Overhead, more: Overhead, fraction: float) -> Overhead:
    return Overhead(
        **{
            f.name: getattr(before, f.name) + fraction * getattr(more, f.name)
            for f in fields(Overhead)
        }
    )
