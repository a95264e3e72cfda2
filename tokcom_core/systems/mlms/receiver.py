"""The base station of paper 1: token receivers G_m and a foundation model with LoRA.

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token (d_T).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ...answers import answer_losses, greedy_answers, token_count
from ...datasets.samples import Samples
from ...foundation import FoundationModel, concatenate
from ...storage import check_saved
from ...tasks.base import Task
from ..base import Seeded
from ..sides import Predictions, Receiver
from ..streams import Received
from ..tokens import by_token, reconstruction_loss, unpack
from .alignment import info_nce
from .system import ALIGNMENT, MEDIA, TEXT, TEXTS
from .transceiver import IntactText, Pooling, TokenReceiver, can_pool, pool

if TYPE_CHECKING:
    from .system import Mlms

_ORDER = (*MEDIA, *TEXTS)
"""The order of concatenation, eq. (12): text comes last."""


class MlmsReceiver(Receiver):
    """A receiver for each modality, and the foundation model that answers.

    Args:
        system: Settings of the system.
        task: Task, whose media it receives.
        seeded: Context that seeds each part by its role.
        torch_device: Torch device or ``auto``.
        max_answer_tokens: Maximum number of generated tokens.
    """

    def __init__(
        self,
        system: Mlms,
        task: Task,
        seeded: Seeded,
        torch_device: str,
        max_answer_tokens: int,
    ) -> None:
        super().__init__()
        self._media = system.swept_devices(task)
        self._alignment = system.alignment
        self._answer_loss = system.fine_tuning.answer_loss
        self._max_answer_tokens = max_answer_tokens
        language = system.models.language_for(task.media)
        with seeded("adapter"):
            self.foundation = FoundationModel(language, system.lora.shape, torch_device)
        width = self.foundation.token_width
        self.receivers = nn.ModuleDict()
        for modality in (*self._media, TEXT):
            with seeded("receiver", modality):
                self.receivers[modality] = token_receiver(system, width)
        self.receivers.to(self.foundation.device)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """Receivers in alignment; receivers and adapter in fine-tuning, eqs. (16) and (18)."""
        parameters = list(self.receivers.parameters())
        if phase != ALIGNMENT:
            parameters += [p for p in self.foundation.parameters() if p.requires_grad]
        return parameters

    def begin(self, phase: str) -> None:
        self.train(phase != ALIGNMENT)

    def calibrate(self, phase: str, received: Mapping[str, Received]) -> None:
        """Scales each receiver's output to the RMS of the foundation model's embeddings."""
        outputs: dict[str, list[Tensor]] = {}
        for stream, arrival in received.items():
            chosen = self._tokens(stream, arrival)[self._by_token(arrival.delivered)]
            outputs.setdefault(_modality(stream), []).append(chosen)
        for modality, tokens in outputs.items():
            receiver, delivered = self.receivers[modality], torch.cat(tokens).detach()
            if isinstance(receiver, TokenReceiver) and len(delivered):
                rms = float(delivered.square().mean().sqrt())
                receiver.rescale(self.foundation.embedding_rms / max(rms, 1e-12))

    def losses(
        self, phase: str, received: Mapping[str, Received], targets: Mapping[str, Samples]
    ) -> dict[str, Tensor]:
        if phase == ALIGNMENT:
            return self._alignment_losses(received)
        (samples,) = targets.values()
        arrived = received["question"].arrived
        if not arrived.any():
            return {}
        prompt, valid = self._prompt(received)
        answers = self.foundation.answer_ids(samples.answer)
        if not arrived.all():
            prompt, valid, answers = prompt[arrived], valid[arrived], answers[arrived]
        losses = self.foundation.answer_losses(prompt, valid, answers)
        return {
            "task": getattr(losses, self._answer_loss),
            "first_token": losses.first_token.detach(),
        }

    def loss_counts(self, phase: str, targets: Mapping[str, Samples]) -> dict[str, int]:
        if phase == ALIGNMENT or self._answer_loss == "first_token":
            return {}
        (samples,) = targets.values()
        return {"task": token_count(self.foundation.answer_ids(samples.answer))}

    def _alignment_losses(self, received: Mapping[str, Received]) -> dict[str, Tensor]:
        """Losses (9) and (11) over the streams that have arrived."""
        tokens = {stream: self._tokens(stream, arrival) for stream, arrival in received.items()}
        valid = {
            stream: self._by_token(arrival.delivered) & arrival.arrived[:, None]
            for stream, arrival in received.items()
        }
        losses = {
            f"reconstruction_{stream}": reconstruction_loss(
                tokens[stream],
                unpack(received[stream].sent, self.foundation.token_width),
                valid[stream],
            )
            for stream in TEXTS
            if stream in received
        }
        if self._alignment.losses != "contrastive":
            return losses
        anchor = self._pooled("caption", tokens["caption"], valid["caption"])
        if not self._alignment.train_anchor:
            anchor = anchor.detach()
        for medium in self._media:
            features = self._pooled(medium, tokens[medium], valid[medium])
            both = can_pool(valid[medium], self._pooling(medium)) & valid["caption"].any(1)
            if both.any():
                losses[f"contrastive_{medium}"] = info_nce(
                    features[both], anchor[both], self._alignment.temperature
                )
        return losses

    def embeddings(self, received: Mapping[str, Received]) -> dict[str, Tensor]:
        """Eq. (10)'s features a_m of the media, and a_T of the caption."""
        return {
            stream: self._pooled(stream, self._tokens(stream, own), self._by_token(own.delivered))
            for stream, own in received.items()
        }

    def predict(
        self, received: Mapping[str, Received], targets: Samples, asked: Tensor
    ) -> Predictions:
        prompt, valid = self._prompt(received)
        if not asked.all():
            prompt, valid = prompt[asked], valid[asked]
            targets = targets.take(asked.nonzero()[:, 0].tolist())
        model, longest = self.foundation, self._max_answer_tokens
        truth = model.answer_ids(targets.answer)
        logits = model.answer_logits(prompt, valid, truth)
        losses, likeliest = answer_losses(logits, truth), logits.argmax(-1)
        del logits  # over a large vocabulary: frees memory before answers are generated
        generated = greedy_answers(
            likeliest,
            truth,
            model.end,
            longest,
            lambda i: model.generate(prompt[i], valid[i], longest),
        )
        return Predictions(
            texts=tuple(model.decode(generated)),
            first_token=tuple((generated[:, 0] == truth[:, 0]).tolist()),
            losses=losses.reported,
            loss_counts=losses.counts,
        )

    def trained_state(self) -> dict[str, Tensor]:
        adapter = {f"adapter.{k}": v for k, v in self.foundation.adapter_state().items()}
        receivers = {f"receivers.{k}": v for k, v in self.receivers.state_dict().items()}
        return {k: v.detach().cpu().clone() for k, v in {**adapter, **receivers}.items()}

    def save(self, folder: Path, name: str) -> None:
        """Saves the receivers as safetensors and the adapter in PEFT's format."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.receivers.state_dict().items()}
        save_file(state, folder / "receivers.safetensors")
        self.foundation.save_adapter(folder / "adapter")

    def load(self, folder: Path, name: str) -> None:
        saved = load_file(folder / "receivers.safetensors")
        check_saved(saved, self.receivers.state_dict())
        self.receivers.load_state_dict(saved)
        self.foundation.load_adapter(folder / "adapter")

    def _tokens(self, stream: str, received: Received) -> Tensor:
        tokens: Tensor = self.receivers[_modality(stream)](received.symbols, received.noise_var)
        return tokens

    def _pooled(self, stream: str, tokens: Tensor, valid: Tensor) -> Tensor:
        """Eq. (10) for the tokens ``[B, S, D]`` of a stream."""
        return pool(tokens, valid, self._pooling(stream))

    def _pooling(self, stream: str) -> Pooling:
        return "mean" if stream in TEXTS else self._alignment.pooling.of(stream)

    def _by_token(self, by_symbol: Tensor) -> Tensor:
        return by_token(by_symbol, self.foundation.token_width // 2)

    def _prompt(self, received: Mapping[str, Received]) -> tuple[Tensor, Tensor]:
        """The prompt of eq. (12); streams that have not arrived are masked."""
        ordered = [(name, received[name]) for name in _ORDER if name in received]
        return concatenate(
            [(self._tokens(name, own), self._by_token(own.delivered)) for name, own in ordered]
        )


def token_receiver(system: Mlms, width: int) -> TokenReceiver | IntactText:
    """The receiver of a modality, for tokens of ``width`` features."""
    if system.intact_texts:
        return IntactText(width)
    models = system.models
    return TokenReceiver(width, models.receiver_width, models.receiver_input == "symbols+noise")


def _modality(stream: str) -> str:
    return TEXT if stream in TEXTS else stream
