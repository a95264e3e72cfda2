"""DeepSC: a text transceiver, whose receiver recovers the text and, here, classifies it.

After Xie et al., 'Deep Learning Enabled Semantic Communication Systems' (IEEE Trans. Signal
Process., 2021) and its code: semantic encoder, channel encoder, channel decoder and semantic
decoder, trained by cross-entropy to reproduce the sent words. The code's estimate of mutual
information, which has a weight of .0009, is left out.

DeepSC has no classifier. TaiChi's paper compares text classification with it and does not say how.
Here the output of the channel decoder, which the semantic decoder attends to, is pooled and
classified. For this, both encoders and the channel decoder are trained further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...answers import IGNORED, padded
from ...checkpoints import POCKET_IMAGES
from ...datasets.samples import Samples
from ...devices import pick_device
from ...tasks.base import Task
from ..base import Seeded, TokenLengths
from ..phases import Phase
from ..sides import Receiver
from .config import (
    SMOKE_TRAINING,
    AnswerConfig,
    ChannelCode,
    EarlierTraining,
    TextConfig,
    TrainingConfig,
    TransformerSize,
)
from .family import DeepScSystem
from .layers import AttentivePooling, ChannelDecoder, decoder_layers, task_names
from .published import BERT
from .receiver import AnsweringReceiver, Vectors

TRANSCEIVER = "transceiver"
RECONSTRUCTION = "reconstruction"


class Deepsc(DeepScSystem):
    """Sends every word of the text as 16 real numbers.

    Attributes:
        text: What the text device sends.
        decoder: Semantic decoder of the receiver.
        transceiver: Training of the transceiver on the words themselves.
    """

    name: Literal["deepsc"] = "deepsc"
    text: TextConfig = TextConfig(
        size=TransformerSize(width=64, depth=2, heads=4, feedforward=128),
        code=ChannelCode(reals=16, hidden=128, decoder_hidden=256),
    )
    decoder: TransformerSize = TransformerSize(width=64, depth=2, heads=4, feedforward=128)
    answers: AnswerConfig = AnswerConfig(classes=32, loss="softmax")
    transceiver: EarlierTraining = TrainingConfig(steps=150, warmup_steps=50)
    training: TrainingConfig = TrainingConfig(steps=500, warmup_steps=50)

    METHODS: ClassVar[dict[str, dict[str, Any]]] = {
        "deepsc": {"summary": "DeepSC: the text's words, classified at the receiver; no image"}
    }
    PATHS: ClassVar[tuple[tuple[str, ...], ...]] = (("text", "tokenizer"),)
    POCKET: ClassVar[dict[str, Any]] = {"text": {"tokenizer": POCKET_IMAGES}}
    REAL: ClassVar[dict[str, Any]] = {"text": {"tokenizer": BERT}}
    SMOKE: ClassVar[dict[str, Any]] = {"transceiver": SMOKE_TRAINING, "training": SMOKE_TRAINING}

    @property
    def receiver_macs(self) -> int:
        """Channel decoder, pooling and classifier count; the semantic decoder only says words."""
        width, words = self.decoder.width, self.text.sent
        decoded = words * self.text.code.decoder_macs(width)
        return decoded + AttentivePooling.macs(width, words) + width * self.answers.classes

    def phases(self, task: Task) -> tuple[Phase, ...]:
        first = self.phase(task, TRANSCEIVER, self.transceiver, RECONSTRUCTION)
        return (first, *super().phases(task))

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        return WordReceiver(self, task, seeded, pick_device(torch_device))


class WordReceiver(AnsweringReceiver):
    """Channel decoder and semantic decoder, with a head for words and one for answers."""

    def __init__(self, system: Deepsc, task: Task, seeded: Seeded, device: torch.device) -> None:
        from ...checkpoints.loading import load_tokenizer

        asked, width = task.texts[-1], system.decoder.width
        codes = {asked: system.text.code}
        super().__init__(codes, task_names(task), system.answers, asked, device)
        self._tokenizer = load_tokenizer(system.text.tokenizer, answers=False)
        self._max_words = system.text.max_words
        with seeded("receiver"):
            self.channel = ChannelDecoder(width, system.text.code)
            self.start = nn.Parameter(torch.randn(width))
            self.embedding = nn.Embedding(len(self._tokenizer), width)
            self.positions = nn.Parameter(torch.randn(system.text.max_words, width))
            self.layers = decoder_layers(system.decoder, system.dropout)
            self.words = nn.Linear(width, len(self._tokenizer))
            self.pooling = AttentivePooling(width)
            self.head = self.answers.head(width)
        self.to(device)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        """The channel decoder, and what says words in the first phase or classifies afterwards."""
        classifier = [*self.pooling.parameters(), *self.head.parameters()]
        if phase != TRANSCEIVER:
            return [*self.channel.parameters(), *classifier]
        others = {id(p) for p in classifier}
        return [p for p in self.parameters() if id(p) not in others]

    def logits(self, vectors: Vectors, task: Tensor) -> Tensor:
        reals, valid = vectors[self._asked]
        logits: Tensor = self.head(self.pooling(self.channel(reals), valid))
        return logits

    def phase_losses(self, phase: str, vectors: Vectors, samples: Samples) -> dict[str, Tensor]:
        if phase != TRANSCEIVER:
            return super().phase_losses(phase, vectors, samples)
        ids = self._ids(samples[self._asked])
        states = self._states(vectors, ids[:, :-1].clamp(min=0))
        words = self.words(states).flatten(0, 1)
        return {RECONSTRUCTION: F.cross_entropy(words, ids.flatten(), ignore_index=IGNORED)}

    def _states(self, vectors: Vectors, said: Tensor) -> Tensor:
        """States ``[B, 1 + S, D]`` of the semantic decoder, at the start and at each word said."""
        reals, valid = vectors[self._asked]
        inputs = torch.cat([self.start.expand(len(reals), 1, -1), self.embedding(said)], 1)
        inputs = inputs + self.positions[: inputs.shape[1]]
        length = inputs.shape[1]
        future = torch.ones(length, length, dtype=torch.bool, device=inputs.device).triu(1)
        states: Tensor = self.layers(
            inputs,
            self.channel(reals),
            tgt_mask=future,
            memory_key_padding_mask=~valid,
        )
        return states

    def _ids(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``[B, S]`` of texts, padded with IGNORED."""
        encoded = self._tokenizer(list(texts), add_special_tokens=False)["input_ids"]
        return padded(row[: self._max_words] for row in encoded).to(self._device)
