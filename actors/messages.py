"""Messages between devices, base station and network; symbols travel as air frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from channel_models import Frame, Members, Overhead
from tokcom_core.systems import Stream


@dataclass(frozen=True)
class StreamRequest:
    """Request to a device to send samples of a split as one stream.

    Attributes:
        stream: Name of the stream.
        split: Split that the samples come from.
        rows: Rows of the split.
        training: Whether the device is to learn from what it sends.
        muted: Whether each sample is not sent, as its device is missing, offline, or left out on
            purpose; empty if all are sent.
        members: The user of each sample, where many users send.
        tokens: Token length of the stream; None for the one that the device is built for.
    """

    stream: str
    split: str
    rows: tuple[int, ...]
    training: bool
    muted: tuple[bool, ...] = ()
    members: Members | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class StepPart:
    """The part of a step's batch that some frames carry.

    Attributes:
        fractions: Weight of each of the part's losses, by name: this part's fraction of the values
            that the loss of the whole batch is the mean of.
        fraction: Weight of losses that are not named there: this part's fraction of the samples.
        last: Whether this is the last part, after which all optimisers step.
    """

    fraction: float = 1.0
    last: bool = True
    fractions: Mapping[str, float] = field(default_factory=dict)

    def weighed(self, losses: Mapping[str, Tensor]) -> Tensor | None:
        """The part's share of the batch's loss, a scalar; None if no loss has any weight."""
        weights = {name: self.fractions.get(name, self.fraction) for name in losses}
        shares = [weight * losses[name] for name, weight in weights.items() if weight]
        return torch.stack(shares).sum() if shares else None


@dataclass(frozen=True)
class Gradient:
    """What the base station returns to the sender of a frame; None means nothing to learn from."""

    stream: str
    symbols: Tensor | None
    scale: Tensor | None


@dataclass(frozen=True)
class StepReport:
    """Report of one training step.

    Attributes:
        losses: Losses by name, whether trained on or only reported.
        costs: Costs on the air, see :func:`.step_reports.step_costs`.
        loss_rates: Fraction of samples that were not received, by stream; only of many users.
    """

    losses: dict[str, float]
    costs: dict[str, float]
    loss_rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ReceptionSummary:
    """Reception of one stream: means over samples. SNRs are averaged on the linear scale.

    Attributes:
        sender: Name of the device that sent it.
        tokens: Number of tokens sent.
        realised_snr_db: Receive SNR of an antenna.
        sinr_db: SINR after equalisation; infinite where a digital link delivers exact values.
        erased_fraction: Fraction of its tokens that were erased.
        lost_fraction: Fraction of samples of which nothing was received.
        sent_fraction: Fraction of samples that send something. SINR and lost fraction are those of
            these samples.
        overhead: Channel uses, airtime, energy and control bits.
        location: What is known of the sender's location, by name.
    """

    sender: str
    tokens: float
    realised_snr_db: float
    sinr_db: float
    erased_fraction: float
    lost_fraction: float
    sent_fraction: float
    overhead: Overhead
    location: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Answers of the base station to one batch.

    Attributes:
        predicted: Text of each generated answer.
        scores: Score of each generated answer by its task, from 0 to 1.
        first_token: Whether the first token of each answer is the true one's.
        losses: Mean test losses over the batch, by name.
        loss_counts: Number of values that a loss is the mean of, see
            :class:`tokcom_core.systems.Predictions`.
        streams: Reception of each stream.
        airtime_ms: Airtime of a sample: of the slowest device, or of all devices (TDMA).
        waiting_ms: Time that a sample takes beyond that: round trips before retransmissions.
        feedback_bits: Downlink bits that a sample's answer took before it was finished.
    """

    predicted: tuple[str, ...]
    scores: tuple[float, ...]
    first_token: tuple[bool, ...]
    losses: dict[str, float]
    loss_counts: dict[str, int]
    streams: dict[str, ReceptionSummary]
    airtime_ms: float
    waiting_ms: float = 0.0
    feedback_bits: float = 0.0


@dataclass(frozen=True)
class SampleLog:
    """Reception of one stream of a served batch, by sample; every tensor is ``[B]``.

    Attributes:
        sender: Name of the device that sent it.
        sent: Whether it was sent, bool; False where a user's device is missing or offline.
        lost: Whether it was sent but not received, bool: in a deep fade, or too late.
        ends_ms: Time from the beginning of the interval to the end of this stream: its airtime and
            that of the streams before it, which are those of its device, or of all devices (TDMA).
            It includes neither encoding nor a straggler's delay.
        waited_ms: Time that the base station waits for a straggler beyond that, at most until the
            deadline; 0 where nothing was sent.
        tokens, realised_snr_db, sinr_db: See :class:`ReceptionSummary`.
        costs: Values of :data:`channel_models.COSTS`; 0 where nothing was sent.
        location: What is known of the user's location, by name.
    """

    sender: str
    sent: Tensor
    lost: Tensor
    ends_ms: Tensor
    waited_ms: Tensor
    tokens: Tensor
    realised_snr_db: Tensor
    sinr_db: Tensor
    costs: dict[str, Tensor]
    location: dict[str, Tensor]

    @property
    def received(self) -> Tensor:
        """Whether it was sent and not lost, bool ``[B]``."""
        return self.sent & ~self.lost


@dataclass(frozen=True)
class Served:
    """Result of one batch of questions; every tensor is ``[B]``.

    Attributes:
        received: Whether all required streams were received, so that the question was answered.
        predicted: Text of each answer; empty where there is none.
        scores: Score of each answer, float64; 0 where there is none.
        first_token: Whether its first token is the true one's, bool.
        streams: Reception of each stream.
    """

    received: Tensor
    predicted: tuple[str, ...]
    scores: Tensor
    first_token: Tensor
    streams: dict[str, SampleLog]


@dataclass(frozen=True)
class LossRules:
    """Rules by which what a device has sent counts as lost.

    Attributes:
        outage_sinr_db: SINR after equalisation below which nothing is received.
        deadline_ms: Maximum sum of encoding, a straggler's delay, and the time until a stream ends.
        encoding_ms: Time that a device computes before it sends, by stream.
        delay_ms: Delay of stragglers, ``[B]`` by stream.
    """

    outage_sinr_db: float
    deadline_ms: float
    encoding_ms: Mapping[str, float]
    delay_ms: Mapping[str, Tensor]

    def lost(self, stream: str, sinr_db: Tensor, ends_ms: Tensor) -> Tensor:
        """Whether each sample of a stream is lost, bool ``[B]``; see :class:`SampleLog`."""
        late = ends_ms + self.encoding_ms[stream] + self.delay_ms[stream] > self.deadline_ms
        return (sinr_db < self.outage_sinr_db) | late

    def waited_ms(self, stream: str, ends_ms: Tensor) -> Tensor:
        """Time that the base station waits for stragglers, see :class:`SampleLog`."""
        left_ms = self.deadline_ms - self.encoding_ms[stream] - ends_ms
        return torch.minimum(self.delay_ms[stream], left_ms.clamp(min=0))


@dataclass(frozen=True)
class TransmitRequest:
    """Request to ``B`` users to send one sample each.

    Attributes:
        split: Split that the samples come from.
        rows: Rows of the split, int64 ``[B]``.
        members: Users, and when each of them sends.
        muted: Whether each user's device is missing or offline, bool ``[B]`` by device.
    """

    split: str
    rows: Tensor
    members: Members
    muted: dict[str, Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, where: Tensor) -> TransmitRequest:
        """The part of the request for some places of the batch."""
        members = Members(
            self.members.users[where], self.members.intervals[where], self.members.starts_s[where]
        )
        muted = {device: flags[where] for device, flags in self.muted.items()}
        return TransmitRequest(self.split, self.rows[where], members, muted)


@dataclass(frozen=True)
class FrameBatch:
    """Frames of a pool, one per stream, and the places of their samples in the whole batch."""

    places: Tensor
    frames: tuple[Frame, ...]


def merge(frame_batches: Sequence[FrameBatch], streams: Mapping[str, Stream]) -> tuple[Frame, ...]:
    """Merges the frames of all pools into one frame per stream, in the order of the batch."""
    order = torch.argsort(torch.cat([batch.places for batch in frame_batches]))
    merged = []
    for parts in zip(*(batch.frames for batch in frame_batches), strict=True):
        stream = streams[parts[0].stream]
        members = [part.members for part in parts if part.members is not None]
        merged.append(
            replace(
                parts[0],
                symbols=at_one_width([part.symbols for part in parts], stream)[order],
                valid=at_one_width([part.valid for part in parts], stream)[order],
                scale=torch.cat([part.scale for part in parts])[order],
                members=Members(
                    *(
                        torch.cat([getattr(m, name) for m in members])[order]
                        for name in ("users", "intervals", "starts_s")
                    )
                ),
            )
        )
    return tuple(merged)


def at_one_width(parts: Sequence[Tensor], stream: Stream) -> Tensor:
    """Symbols ``[B, N]`` of a stream, or which are valid, from parts ``[b, <= N]``.

    Narrower parts are padded on the stream's side: a part knows its own longest sample alone.
    """
    longest = max(part.shape[1] for part in parts)
    wide = []
    for part in parts:
        missing = longest - part.shape[1]
        sides = (missing, 0) if stream.padding == "left" else (0, missing)
        wide.append(nn.functional.pad(part, sides))
    return torch.cat(wide)
