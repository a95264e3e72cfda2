"""DeepSC-VQA: every patch and word is sent, and a layer-wise transformer fuses them.

After Xie et al., 'Task-Oriented Multi-User Semantic Communications' (IEEE JSAC, 2022): one user
sends an image and another a question, neither seeing the other's. At the receiver, a transformer
whose encoder and decoder layers are linked one to one joins them (its forerunner MU-DeepSC has a
MAC network there). The code is not public: here the sizes are ours, the channel code is DeepSC's,
and attentive pooling joins the two streams for the classifier. The system reads what T- and
U-DeepSC read, see :mod:`.unified`.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ...devices import pick_device
from ...tasks.base import Task
from ..base import Seeded, TokenLengths
from ..sides import Receiver
from .config import (
    FROM_FROZEN,
    HIGH_RESOLUTION,
    IMAGE,
    STATES,
    AnswerConfig,
    ChannelCode,
    ImageConfig,
    TextConfig,
    TrainingConfig,
    TransformerSize,
)
from .family import ImageAndTextSystem
from .layers import AttentivePooling, ChannelDecoder, LayerwiseTransformer, task_names
from .receiver import AnsweringReceiver, Vectors

_CODE = ChannelCode(reals=16, hidden=128, decoder_hidden=256)


class DeepscVqa(ImageAndTextSystem):
    """Sends every patch and every word, and fuses them layer by layer.

    Attributes:
        image: What the image device sends.
        text: What the text device sends.
        fusion: Layer-wise transformer of the receiver.
    """

    name: Literal["deepsc_vqa"] = "deepsc_vqa"
    image: ImageConfig = ImageConfig(
        detail=HIGH_RESOLUTION,
        size=TransformerSize(width=64, depth=1, heads=4, feedforward=128),
        code=_CODE,
    )
    text: TextConfig = TextConfig(
        layer=STATES, size=TransformerSize(width=64, depth=1, heads=4, feedforward=128), code=_CODE
    )
    fusion: TransformerSize = TransformerSize(width=64, depth=2, heads=4, feedforward=256)
    answers: AnswerConfig = AnswerConfig(classes=32, loss="softmax")
    training: TrainingConfig = FROM_FROZEN
    dropout: float = Field(default=0.0, ge=0, lt=1)

    METHODS: ClassVar[dict[str, dict[str, Any]]] = {
        "deepsc-vqa": {
            "summary": "DeepSC-VQA: every patch and word, fused by a layer-wise transformer"
        }
    }

    @property
    def receiver_macs(self) -> int:
        """Multiplications by a weight for a sample.

        The text runs through the layers of an encoder, the image through those of a decoder.
        """
        width, image, text = self.fusion.width, self.image.sent, self.text.sent
        decoded = image * self.image.code.decoder_macs(width)
        decoded += text * self.text.code.decoder_macs(width)
        fused = self.fusion.macs(text) + self.fusion.macs(image, memory=text)
        pooled = AttentivePooling.macs(width, image + text)
        return decoded + fused + pooled + width * self.answers.classes

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        return FusionReceiver(self, task, seeded, pick_device(torch_device))


class FusionReceiver(AnsweringReceiver):
    """Channel decoders, the layer-wise transformer, pooling, a classifier."""

    def __init__(self, system: DeepscVqa, task: Task, seeded: Seeded, device: torch.device) -> None:
        asked, width = task.texts[-1], system.fusion.width
        codes = {IMAGE: system.image.code, asked: system.text.code}
        super().__init__(codes, task_names(task), system.answers, asked, device)
        with seeded("receiver"):
            self.channel = nn.ModuleDict({n: ChannelDecoder(width, c) for n, c in codes.items()})
            self.fusion = LayerwiseTransformer(system.fusion, system.dropout)
            self.pooling = nn.ModuleDict({name: AttentivePooling(width) for name in codes})
            self.norm = nn.LayerNorm(width)
            self.head = self.answers.head(width)
        self.to(device)

    def logits(self, vectors: Vectors, task: Tensor) -> Tensor:
        (image, image_valid), (text, text_valid) = vectors[IMAGE], vectors[self._asked]
        text, image = self.fusion(
            self.channel[self._asked](text), self.channel[IMAGE](image), text_valid, image_valid
        )
        pooled = self.pooling[self._asked](text, text_valid)
        pooled = pooled + self.pooling[IMAGE](image, image_valid)
        logits: Tensor = self.head(self.norm(pooled))
        return logits
