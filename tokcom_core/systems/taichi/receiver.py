"""The base station of TaiChi: channel decoder and token decoder, eq. (15), and the loss (16).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token, ``A`` tokens of an answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...answers import IGNORED, answer_losses, greedy_answers, token_count
from ...datasets.samples import Samples
from ...foundation import concatenate, padding_first, positions_of
from ..base import Seeded
from ..sides import Predictions, Receiver
from ..streams import Feedback, Received
from ..tokens import reconstruction_loss
from .codec import ChannelDecoder
from .decoding import Generation, Prompt, answer_logits, generate, own_states
from .language import LanguageLayers
from .names import CODEC, CODING, DIALOGUE, OFF_AIR, PRETRAINING, PROMPT, STATES, VISUAL
from .parameters import check_loaded, is_language, load_weights, named_weights, require
from .prompts import Words

if TYPE_CHECKING:
    from .system import Taichi


@dataclass(frozen=True)
class _Relay:
    """A batch whose answers are generated in rounds.

    Attributes:
        generation: Answers so far.
        truth: Token ids of the true answers, ``[B, A]``.
        losses: Losses of the true answers.
    """

    generation: Generation
    truth: Tensor
    losses: dict[str, float]


class TaichiReceiver(Receiver):
    """Channel decoder, and the whole language model: its upper layers decode the prompt's states.

    Args:
        system: Settings of the system.
        seeded: Context that seeds each part by its role.
        learnt_in: Names of the system's phases.
        torch_device: Torch device or ``auto``.
        max_answer_tokens: Maximum number of generated tokens.
    """

    def __init__(
        self,
        system: Taichi,
        seeded: Seeded,
        learnt_in: Sequence[str],
        torch_device: str,
        max_answer_tokens: int,
    ) -> None:
        super().__init__()
        self._system = system
        self._max_answer_tokens = max_answer_tokens
        self._words = Words(system.models.language, system.order, system.instruction_tokens)
        with seeded("adapter"):
            self.language = LanguageLayers(
                system.models.language,
                torch_device,
                lora=system.adapter,
                single_precision=system.language_tuning == "full",
            )
        with seeded("decoder"):
            self.decoder = ChannelDecoder(system.codec, self.language.width)
        self.decoder.to(self.language.device)
        self._relay: _Relay | None = None
        require(self, [p for phase in learnt_in for p in self.trainable(phase)])

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """Nothing, the language model, the channel decoder, or the channel decoder and the adapter.

        Under relay, no token passes the base station's first k layers in the phases over the air,
        so that joint coding does not train the adapter on these layers.
        """
        if phase == PRETRAINING:
            return []
        decoder = list(self.decoder.parameters())
        if phase == CODEC:
            return decoder
        if phase == CODING:
            if self._system.coding != "joint":
                return decoder
            first = self._system.layers_below if self._system.in_rounds else 0
            return decoder + self.language.adapter(first)
        whole = self._system.language_tuning == "full"
        return self.language.weights() if whole else self.language.adapter()

    def begin(self, phase: str) -> None:
        super().begin(phase)
        require(self, self.trainable(phase))

    def losses(
        self, phase: str, received: Mapping[str, Received], targets: Mapping[str, Samples]
    ) -> dict[str, Tensor]:
        (samples,) = targets.values()
        asked = next(iter(received.values())).arrived
        if not asked.any():
            return {}
        if phase in OFF_AIR:
            return self._conversation_losses(received[VISUAL], samples)
        if phase == CODEC:
            prompt = self._prompt(received[PROMPT])
            target = torch.view_as_real(received[STATES].symbols).reshape(prompt.states.shape)
            kept = prompt.arrived & asked[:, None]
            return {"reconstruction": reconstruction_loss(prompt.states, target.detach(), kept)}
        answers = self._words.answers(samples.answer, self._system.answer_tokens)
        answers = answers.to(self.language.device)
        prompt = self._prompt(received[DIALOGUE if DIALOGUE in received else PROMPT])
        if DIALOGUE not in received:
            prompt = own_states(self.language, self._system.layers_below, prompt, answers)
        logits = self._logits(prompt.take(asked.nonzero()[:, 0]), answers.shape[1])
        losses = answer_losses(logits, answers[asked])
        return {"task": losses.all_tokens, "first_token": losses.first_token.detach()}

    def loss_counts(self, phase: str, targets: Mapping[str, Samples]) -> dict[str, int]:
        """Answers count their tokens; states only samples, as it is not known what will arrive."""
        (samples,) = targets.values()
        if phase == CODEC:
            return {}
        if phase in OFF_AIR:
            longest = self._system.conversation_tokens
            labels = self._words.conversations(samples["conversation"], longest).labels
        else:
            labels = self._words.answers(samples.answer, self._system.answer_tokens)
        return {"task": token_count(labels)}

    def _conversation_losses(self, visual: Received, samples: Samples) -> dict[str, Tensor]:
        """Eq. (16) on the responses alone: cross-entropy of the words that come next.

        The paper prints a binary cross-entropy over the vocabulary. As a softmax has only one true
        word, the usual cross-entropy is used here. There is no loss if all responses are cut away.
        """
        system, device = self._system, self.language.device
        script = self._words.conversations(samples["conversation"], system.conversation_tokens)
        before, after = script.before.to(device), script.after.to(device)
        tokens = torch.view_as_real(visual.symbols).reshape(len(before), -1, self.language.width)
        seen = visual.valid.reshape(*tokens.shape[:2], -1)[..., 0]
        parts = [self._embedded(before), (tokens, seen), self._embedded(after)]
        labels = torch.full_like(torch.cat([valid for _, valid in parts], 1).long(), IGNORED)
        labels[:, -after.shape[1] :] = script.labels.to(device)
        order = padding_first(torch.cat([valid for _, valid in parts], 1), trim=True)
        inputs, valid = concatenate(parts, trim=True)
        following = labels.gather(1, order)[:, 1:]
        predicted = following != IGNORED
        if not predicted.any():
            return {}
        states = self.language(inputs, valid, positions_of(valid))[:, :-1]
        logits = self.language.logits(states[predicted])
        return {"task": F.cross_entropy(logits, following[predicted])}

    def predict(
        self, received: Mapping[str, Received], targets: Samples, asked: Tensor
    ) -> Predictions | Feedback:
        rows = asked.nonzero()[:, 0]
        prompt = self._prompt(received[PROMPT]).take(rows)
        truth = self._words.answers(targets.answer, self._max_answer_tokens)
        truth = truth.to(self.language.device)[rows]
        if self._system.in_rounds:
            return self._first_round(prompt, truth, rows)
        model, k, end = self.language, self._system.layers_below, self._words.end
        longest = self._max_answer_tokens
        logits = self._logits(own_states(model, k, prompt, truth), truth.shape[1])
        losses, likeliest = answer_losses(logits, truth), logits.argmax(-1)
        del logits  # over a large vocabulary: frees memory before answers are generated
        said = greedy_answers(
            likeliest,
            truth,
            end,
            longest,
            lambda i: generate(model, k, prompt.take(i), end, longest),
        )
        found = self._predictions(said, truth, losses.reported)
        return replace(found, loss_counts=losses.counts)

    def _first_round(self, prompt: Prompt, truth: Tensor, rows: Tensor) -> Predictions | Feedback:
        """Begins answers under relay.

        The only loss is that of the first token, as the states of the others are not known here.
        """
        losses = answer_losses(self._logits(prompt, 1), truth[:, :1]).reported
        del losses["task"]
        k = self._system.layers_below
        generation = Generation(self.language, k, self._words.end, self._max_answer_tokens)
        generation.begin(prompt)
        self._relay = _Relay(generation, truth, losses)
        return self._next(rows[generation.rows])

    def resume(self, received: Mapping[str, Received]) -> Predictions | Feedback:
        """Goes on under relay: the states of the latest tokens have crossed the air."""
        assert self._relay is not None, "a prompt comes first"
        latest = self._prompt(received[PROMPT])
        self._relay.generation.step(latest.states, latest.arrived)
        return self._next(self._relay.generation.rows)

    def _next(self, rows: Tensor) -> Predictions | Feedback:
        """The answers if all have ended, or else feedback to the terminal.

        The feedback returns the latest tokens to ``rows`` of the last frame.
        """
        assert self._relay is not None, "a prompt comes first"
        generation = self._relay.generation
        if not len(rows):
            return self._predictions(generation.tokens, self._relay.truth, self._relay.losses)
        bits = math.ceil(math.log2(self.language.embedding.num_embeddings))
        return Feedback(PROMPT, rows.cpu(), generation.latest.cpu(), float(bits))

    def _predictions(self, said: Tensor, truth: Tensor, losses: dict[str, float]) -> Predictions:
        right = said[:, 0] == truth[:, 0]
        return Predictions(tuple(self._words.decode(said)), tuple(right.tolist()), losses)

    def _prompt(self, received: Received) -> Prompt:
        """States from the channel decoder; those of lost tokens are zero and not attended to."""
        states = self.decoder(received.symbols, received.noise_var)
        sent = self.decoder.by_token(received.valid)
        arrived = self.decoder.by_token(received.delivered)
        return Prompt(states * arrived[..., None], sent, arrived)

    def _logits(self, prompt: Prompt, count: int) -> Tensor:
        return answer_logits(self.language, self._system.layers_below, prompt, count)

    def _embedded(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.language.embed(ids.clamp(min=0)).float(), ids != IGNORED

    def trained_state(self) -> dict[str, Tensor]:
        return {name: p.detach().cpu().clone() for name, p in self._kept().items()}

    def load(self, folder: Path, name: str) -> None:
        wanted = self._kept()
        check_loaded(wanted, *load_weights(folder / f"{name}.safetensors", wanted))

    def _kept(self) -> dict[str, nn.Parameter]:
        """The channel decoder, the adapter, and the language model where all of it is tuned."""
        whole = self._system.language_tuning == "full"
        return {
            name: p
            for name, p in named_weights(self).items()
            if whole or not is_language(name) or "lora_" in name
        }
