"""What devices, base station and network tell each other; symbols travel as air frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from channel_models import Members, Overhead

Modality = Literal["vision", "audio", "text"]
Stream = Literal["vision", "audio", "caption", "question"]

STREAM_ORDER: tuple[Stream, ...] = ("vision", "audio", "caption", "question")
"""The order of concatenation, eq. (12): text comes last."""

MODALITY_OF: dict[str, Modality] = {
    "vision": "vision",
    "audio": "audio",
    "caption": "text",
    "question": "text",
}


@dataclass(frozen=True)
class Batch:
    """Which samples of a split to send, as which stream.

    ``silent`` marks those of which nothing is sent: a device that is lacking, out, or left out on
    purpose. ``members`` tells whose each is, where there is a crowd.
    """

    stream: Stream
    split: str
    rows: tuple[int, ...]
    training: bool
    muted: tuple[bool, ...] = ()
    members: Members | None = None


@dataclass(frozen=True)
class Gradient:
    """What the base station returns to the sender of a frame; ``None`` means nothing to learn."""

    stream: str
    symbols: Tensor | None
    scale: Tensor | None


@dataclass(frozen=True)
class Training:
    """Optimiser of one stage, alike on devices and base station.

    ``schedule`` is a name of ``transformers.get_scheduler``; AdamW throughout. ``gradient_clip``
    bounds the norm of the gradient of each device, and of the base station; None does not.
    """

    steps: int
    learning_rate: float
    schedule: Literal["cosine_with_min_lr", "linear", "constant_with_warmup"]
    min_learning_rate: float = 1e-6
    warmup_steps: int = 0
    gradient_clip: float | None = 1.0


@dataclass(frozen=True)
class StepReport:
    """Losses of one training step (those trained on, and others to look at), and by stream the
    share of a crowd's samples not heard."""

    losses: dict[str, float]
    loss_rates: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrival:
    """How one stream arrived; means over samples, those of SNRs linear and then in dB.

    Attributes:
        sender: who sent it.
        tokens: that were sent.
        realised_snr_db: receive SNR of an antenna.
        sinr_db: SINR after equalisation; infinite where a digital link delivers exact values.
        erased_fraction: of its tokens.
        lost_fraction: of samples of which nothing arrived.
        overhead: what it cost.
        site: what is known of the sender's place, by name.
    """

    sender: str
    tokens: float
    realised_snr_db: float
    sinr_db: float
    erased_fraction: float
    lost_fraction: float
    overhead: Overhead
    site: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What the base station answered to one batch.

    Attributes:
        exact: whether the generated answer equals the true one.
        first_token: whether its first token does, as the paper counts.
        loss: eq. (14) on this batch, over all answer tokens.
        first_token_loss: of the first answer token alone, the mean over samples.
        arrivals: how each stream arrived.
        interval_ms: airtime of all frames together.
    """

    exact: tuple[bool, ...]
    first_token: tuple[bool, ...]
    loss: float
    first_token_loss: float
    arrivals: dict[str, Arrival]
    interval_ms: float


@dataclass(frozen=True)
class StreamLog:
    """One stream of a served batch, sample by sample; every tensor is ``[B]``.

    Attributes:
        sender: who sent it.
        sent: bool, False where a user has no such device, or it is out.
        lost: bool, sent in vain: a deep fade, or too late.
        tokens, realised_snr_db, sinr_db: see :class:`Arrival`.
        costs: ``data_channel_uses, pilot_channel_uses, control_bits, airtime_ms, energy_mj``;
            0 where nothing was sent.
        site: what is known of the user's place, by name.
    """

    sender: str
    sent: Tensor
    lost: Tensor
    tokens: Tensor
    realised_snr_db: Tensor
    sinr_db: Tensor
    costs: dict[str, Tensor]
    site: dict[str, Tensor]

    @property
    def received(self) -> Tensor:
        """Bool ``[B]``: neither silent nor lost."""
        return self.sent & ~self.lost


@dataclass(frozen=True)
class Served:
    """What became of one batch of questions; bool ``[B]``.

    Attributes:
        heard: the question itself arrived, so that it was answered.
        exact: the answer equals the true one.
        first_token: its first token does.
        streams: how each stream arrived.
    """

    received: Tensor
    exact: Tensor
    first_token: Tensor
    streams: dict[str, StreamLog]
