"""The base station: air, token receivers, foundation model with LoRA, and their optimiser."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from channel_models import (
    Air,
    AirBase,
    Frame,
    Link,
    Members,
    PopulationSize,
    Reception,
    spawn_seed,
)
from tokcom_core.alignment import info_nce, reconstruction_loss
from tokcom_core.datasets.samples import read_samples
from tokcom_core.foundation import FoundationModel, LoraShape, concatenate
from tokcom_core.transceiver import (
    RECEIVER_WIDTH,
    AudioPooling,
    IntactText,
    Pooling,
    TokenReceiver,
    VisionPooling,
    pool,
    unpack,
)
from tokcom_core.vocabulary import normalise_answer

from .emulation.faults import Rules
from .emulation.pool import FrameBatch, TransmitRequest, merge
from .engines.tensorflow import tensorflow_service
from .messages import (
    MODALITY_OF,
    STREAM_ORDER,
    Answers,
    Gradient,
    Modality,
    Served,
    StepReport,
    StreamLog,
    Training,
)
from .reception import arrival, by_token, stream_log
from .training.optimiser import Optimiser, seeded

AnswerLoss = Literal["all_tokens", "first_token"]
"""Which of :class:`~tokcom_core.foundation.AnswerLosses` stage 2 trains on."""


@dataclass(frozen=True)
class AlignmentLossConfig:
    """Which losses stage 1 uses: (9) alone, or (9) and the contrastive loss (11).

    Attributes:
        contrastive: whether there is eq. (11).
        temperature: its tau.
        vision_pooling, audio_pooling: eq. (10) for the modality; text is averaged.
        train_anchor: whether (11) reaches the text receiver, too. The paper trains that by (9)
            alone; the code of its authors does not detach the anchor.
    """

    contrastive: bool = True
    temperature: float = 0.07
    vision_pooling: VisionPooling = "mean"
    audio_pooling: AudioPooling = "mean"
    train_anchor: bool = False

    def pooling(self, modality: str) -> Pooling:
        return self.vision_pooling if modality == "vision" else self.audio_pooling


@dataclass(frozen=True)
class StationConfig:
    """Everything the base station is made of.

    Attributes:
        modalities: which it has a receiver for.
        seed: the study's seed; the station's own follow from it.
        samples: table of each split, for the true answers.
        link: the band, for airtime and energy.
        receiver_width: hidden features of the receivers G_m.
        receiver_sees_noise: whether they get each token's noise variance, too.
        text_intact: True puts no receiver G_T behind the text (the floors).
        language_model: the foundation model.
        lora: shape of its adapter.
        max_answer_tokens: longest answer that is generated, alike for every question.
        device: torch device or ``auto``.
    """

    modalities: tuple[Modality, ...]
    seed: int
    samples: dict[str, Path]
    link: Link
    receiver_width: int = RECEIVER_WIDTH
    receiver_sees_noise: bool = False
    text_intact: bool = False
    language_model: str = "pocket"
    lora: LoraShape = field(default_factory=LoraShape)
    max_answer_tokens: int = 8
    device: str = "auto"


class BaseStation:
    """Receives frames of all devices, learns, answers, and returns gradients.

    A plain class: engines decide whether it lives in this process or in a Ray actor.
    """

    def __init__(self, config: StationConfig) -> None:
        self._config = config
        with seeded(spawn_seed(config.seed, "station", "adapter")):
            self.foundation = FoundationModel(config.language_model, config.lora, config.device)
        self._device = self.foundation.device
        width = self.foundation.token_width
        self.receivers = nn.ModuleDict()
        for modality in config.modalities:
            with seeded(spawn_seed(config.seed, "station", "receiver", modality)):
                intact = config.text_intact and modality == "text"
                self.receivers[modality] = (
                    IntactText(width)
                    if intact
                    else TokenReceiver(width, config.receiver_width, config.receiver_sees_noise)
                )
        self.receivers.to(self._device)
        self._answers = {s: read_samples(f).answer for s, f in config.samples.items()}
        self._air: Air | None = None
        self._contrast = AlignmentLossConfig()
        self._answer_loss: AnswerLoss = "all_tokens"
        self._optimiser: Optimiser | None = None

    @property
    def token_width(self) -> int:
        """d_T."""
        return self.foundation.token_width

    def set_channel(self, air: AirBase, snr_db: float, crowd: PopulationSize | None = None) -> None:
        """Chooses the air between the devices, or a crowd of users, and this station."""
        name = "cuda:0" if self._device.type == "cuda" else "cpu"
        self._air = air.build(self._config.link, snr_db, name, tensorflow_service, crowd)

    def start_alignment(self, training: Training, contrast: AlignmentLossConfig) -> None:
        """Begins stage 1: the receivers learn, the foundation model is not touched."""
        self._contrast = contrast
        self._optimiser = Optimiser(self.receivers.parameters(), training)
        self.foundation.eval()

    def start_fine_tuning(self, training: Training, answer_loss: AnswerLoss) -> None:
        """Begins stage 2: receivers and adapter learn, eqs. (16) and (18)."""
        self._answer_loss = answer_loss
        parameters = [*self.receivers.parameters(), *self.foundation.parameters()]
        self._optimiser = Optimiser(parameters, training)

    def align(
        self, seed: int, rules: Rules | None, *frames: Frame
    ) -> tuple[StepReport | Gradient, ...]:
        """One step of lines 8 to 15 of Algorithm 1; returns a report and each frame's gradient.

        What is lost by the ``rules`` of a crowd teaches nothing.
        """
        leaves = [_as_leaf(frame, self._device) for frame in frames]
        receptions, logs = self._receive_logged(leaves, seed, rules)
        streams = {frame.stream: frame for frame in leaves}
        received = {
            f.stream: self._tokens(f.stream, r) for f, r in zip(leaves, receptions, strict=True)
        }
        valid = {s: self._valid_tokens(f) for s, f in streams.items()}
        for stream, log in logs.items():
            valid[stream] = valid[stream] & log.received.to(self._device)[:, None]
        losses: dict[str, Tensor] = {}
        for stream in ("caption", "question"):
            if stream in streams:
                sent = unpack(
                    streams[stream].symbols * streams[stream].scale[:, None], self.token_width
                )
                losses[f"reconstruction_{stream}"] = reconstruction_loss(
                    received[stream], sent.detach(), valid[stream]
                )
        if self._contrast.contrastive:
            anchor = pool(received["caption"], valid["caption"], "mean")
            if not self._contrast.train_anchor:
                anchor = anchor.detach()
            for stream in ("audio", "vision"):
                if stream in streams:
                    own = pool(received[stream], valid[stream], self._contrast.pooling(stream))
                    both = valid[stream].any(1) & valid["caption"].any(1)
                    if both.any():
                        losses[f"contrastive_{stream}"] = info_nce(
                            own[both], anchor[both], self._contrast.temperature
                        )
        return self._step(losses, leaves, logs)

    def calibrate(self, seed: int, *frames: Frame) -> None:
        """Scales each receiver's output to the RMS of the foundation model's embeddings."""
        frames = tuple(_moved(frame, self._device) for frame in frames)
        with torch.no_grad():
            outputs: dict[Modality, list[Tensor]] = {}
            for frame, reception in zip(frames, self._receive(frames, seed), strict=True):
                tokens = self._tokens(frame.stream, reception)
                chosen = tokens[self._valid_tokens(frame)]
                outputs.setdefault(MODALITY_OF[frame.stream], []).append(chosen)
            for modality, tokens_of in outputs.items():
                receiver = self.receivers[modality]
                if isinstance(receiver, TokenReceiver):
                    rms = float(torch.cat(tokens_of).square().mean().sqrt())
                    receiver.rescale(self.foundation.embedding_rms / max(rms, 1e-12))

    def fine_tune(
        self, seed: int, rules: Rules | None, split: str, rows: tuple[int, ...], *frames: Frame
    ) -> tuple[StepReport | Gradient, ...]:
        """One round of lines 17 to 27 of Algorithm 1; returns a report and gradients.

        By the ``rules`` of a crowd a lost modality is masked, and a lost question not answered.
        """
        self.foundation.train()
        leaves = [_as_leaf(frame, self._device) for frame in frames]
        receptions, logs = self._receive_logged(leaves, seed, rules)
        prompt, valid = self._prompt(leaves, receptions)
        answers = self._answer_ids(split, rows)
        if logs:
            asked = logs["question"].received.to(self._device)
            prompt, valid, answers = prompt[asked], valid[asked], answers[asked]
        if not len(prompt):
            return self._step({}, leaves, logs)
        with seeded(spawn_seed(seed, "dropout")):
            found = self.foundation.answer_losses(prompt, valid, answers)
        losses = {
            "task": getattr(found, self._answer_loss),
            "first_token": found.first_token.detach(),
        }
        return self._step(losses, leaves, logs)

    @torch.no_grad()
    def answer(self, seed: int, split: str, rows: tuple[int, ...], *frames: Frame) -> Answers:
        """Serves one batch: answers by autoregressive generation, scored against the truth."""
        self.foundation.eval()
        frames = tuple(_moved(frame, self._device) for frame in frames)
        receptions = self._receive(frames, seed)
        prompt, valid = self._prompt(frames, receptions)
        ids = self._answer_ids(split, rows)
        exact, first_token = self._score(prompt, valid, split, rows)
        losses = self.foundation.answer_losses(prompt, valid, ids)
        link = self._config.link
        return Answers(
            exact=tuple(exact),
            first_token=tuple(first_token),
            loss=float(losses.all_tokens),
            first_token_loss=float(losses.first_token),
            arrivals={
                frame.stream: arrival(frame, reception, self.token_width)
                for frame, reception in zip(frames, receptions, strict=True)
            },
            interval_ms=link.interval_ms(
                [frame.sender for frame in frames], [r.overhead for r in receptions]
            ),
        )

    def predict_rates(self, senders: Sequence[str], members: Members) -> Tensor:
        """Achievable rates (bit/s/Hz) ``[B]`` of a crowd's users, for a scheduler."""
        assert self._air is not None, "set_channel() chooses an air"
        return torch.log2(1 + self._air.predict_snr(senders, members)).float().cpu()

    @torch.no_grad()
    def serve(
        self, seed: int, orders: TransmitRequest, rules: Rules, *frame_batches: FrameBatch
    ) -> Served:
        """Answers questions of many users; what a user lacks or has lost is masked."""
        self.foundation.eval()
        frames = tuple(_moved(frame, self._device) for frame in merge(frame_batches))
        receptions, logs = self._receive_logged(frames, seed, rules)
        received = logs["question"].received
        exact, first_token = torch.zeros_like(received), torch.zeros_like(received)
        if received.any():
            prompt, valid = self._prompt(frames, receptions)
            there = received.to(self._device)
            rows = orders.rows[received].tolist()
            scores = self._score(prompt[there], valid[there], orders.split, rows)
            exact[received], first_token[received] = (torch.tensor(hits) for hits in scores)
        return Served(received, exact, first_token, logs)

    def _score(
        self, prompt: Tensor, valid: Tensor, split: str, rows: Sequence[int]
    ) -> tuple[list[bool], list[bool]]:
        """Answers prompts: whether each answer, and whether its first token, is the true one."""
        ids = self._answer_ids(split, rows)
        generated = self.foundation.generate(prompt, valid, self._config.max_answer_tokens)
        given = [normalise_answer(text) for text in self.foundation.decode(generated)]
        true = [normalise_answer(self._answers[split][row]) for row in rows]
        exact = [a == b for a, b in zip(given, true, strict=True)]
        return exact, (generated[:, 0] == ids[:, 0]).tolist()

    def _answer_ids(self, split: str, rows: Sequence[int]) -> Tensor:
        return self.foundation.answer_ids([self._answers[split][row] for row in rows])

    def state(self) -> dict[str, Tensor]:
        """The trained tensors: receivers and adapter."""
        adapter = {f"adapter.{k}": v for k, v in self.foundation.adapter_state().items()}
        receivers = {f"receivers.{k}": v for k, v in self.receivers.state_dict().items()}
        return {k: v.detach().cpu().clone() for k, v in {**adapter, **receivers}.items()}

    def save(self, folder: Path) -> None:
        """Saves the receivers as safetensors and the adapter in PEFT's format."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.receivers.state_dict().items()}
        save_file(state, folder / "receivers.safetensors")
        self.foundation.save_adapter(folder / "adapter")

    def load(self, folder: Path) -> None:
        """Loads what :meth:`save` saved."""
        self.receivers.load_state_dict(load_file(folder / "receivers.safetensors"))
        self.foundation.load_adapter(folder / "adapter")

    def checkpoint(self, folder: Path) -> None:
        """Saves everything that the next step depends on."""
        assert self._optimiser is not None, "start_...() begins a stage"
        self.save(folder)
        self._optimiser.save(folder / "station-optimiser.safetensors")

    def restore(self, folder: Path) -> None:
        """Goes back to what :meth:`checkpoint` saved; the stage has begun already."""
        assert self._optimiser is not None, "start_...() begins a stage"
        self.load(folder)
        self._optimiser.load(folder / "station-optimiser.safetensors")

    def parameter_counts(self) -> dict[str, int]:
        """Weights of each receiver and of the foundation model, for counting FLOPs."""
        counts = {m: sum(p.numel() for p in r.parameters()) for m, r in self.receivers.items()}
        return {**counts, "foundation": self.foundation.parameter_count}

    def _receive(self, frames: Sequence[Frame], seed: int) -> list[Reception]:
        assert self._air is not None, "set_channel() chooses an air"
        return self._air.transmit(frames, spawn_seed(seed, "air"))

    def _receive_logged(
        self, frames: Sequence[Frame], seed: int, rules: Rules | None
    ) -> tuple[list[Reception], dict[str, StreamLog]]:
        """Receives a crowd's frames, what is lost erased; without rules there is no crowd."""
        received = self._receive(frames, seed)
        if rules is None:
            return received, {}
        link, width = self._config.link, self.token_width
        devices = len({frame.sender for frame in frames})
        logs = {
            f.stream: stream_log(f, r, link, rules, devices, width)
            for f, r in zip(frames, received, strict=True)
        }
        receptions = [
            replace(r, erased=r.erased | logs[f.stream].lost.to(self._device)[:, None])
            for f, r in zip(frames, received, strict=True)
        ]
        return receptions, logs

    def _tokens(self, stream: str, reception: Reception) -> Tensor:
        receiver = self.receivers[MODALITY_OF[stream]]
        tokens: Tensor = receiver(reception.symbols, reception.noise_var)
        return tokens

    def _valid_tokens(self, frame: Frame) -> Tensor:
        """Bool ``[B, S]``: a token is valid if its symbols are."""
        return by_token(frame.valid, self.token_width)

    def _prompt(
        self, frames: Sequence[Frame], receptions: Sequence[Reception]
    ) -> tuple[Tensor, Tensor]:
        by_stream = {f.stream: (f, r) for f, r in zip(frames, receptions, strict=True)}
        ordered = [by_stream[stream] for stream in STREAM_ORDER if stream in by_stream]
        return concatenate(
            [
                (self._tokens(f.stream, r), by_token(f.valid & ~r.erased, self.token_width))
                for f, r in ordered
            ]
        )

    def _step(
        self, losses: dict[str, Tensor], leaves: Sequence[Frame], logs: dict[str, StreamLog]
    ) -> tuple[StepReport | Gradient, ...]:
        """Trains on the sum of the losses; a detached one is reported and teaches nothing."""
        assert self._optimiser is not None, "start_alignment() or start_fine_tuning() comes first"
        if losses:
            torch.stack(list(losses.values())).sum().backward()
        self._optimiser.step()
        report = StepReport(
            losses={name: float(loss.detach()) for name, loss in losses.items()},
            loss_rates={s: 1 - float(log.received.double().mean()) for s, log in logs.items()},
        )
        gradients = [Gradient(f.stream, f.symbols.grad, f.scale.grad) for f in leaves]
        return (report, *gradients)


def _moved(frame: Frame, device: torch.device) -> Frame:
    return replace(
        frame,
        symbols=frame.symbols.to(device),
        valid=frame.valid.to(device),
        scale=frame.scale.to(device),
    )


def _as_leaf(frame: Frame, device: torch.device) -> Frame:
    """A copy whose symbols and scale collect gradients."""
    moved = _moved(frame, device)
    return replace(
        moved,
        symbols=moved.symbols.detach().clone().requires_grad_(),
        scale=moved.scale.detach().clone().requires_grad_(),
    )
