"""T-DeepSC and U-DeepSC: a few vectors of image and text, decoded by learned queries of the task.

After Zhang et al., 'A Unified Multi-Task Semantic Communication System for Multimodal Data' (IEEE
Trans. Commun., 2024) and its code. Left out are the feature selection that varies the number of
vectors with the SNR, the codebook of the digital variant (here, ``digital`` is a transport), and
the early exits, which only the preprint has.

Every task has sigmoids here, text classification too. In VQA their ViT reads frozen region
features; ours reads those of CLIP and ConvNeXt. Their text encoder is a pretrained BERT that is
trained further; ours is a transformer over a language model's frozen states.
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
from .answers import AnswerSet
from .config import (
    FROM_FROZEN,
    HIGH_RESOLUTION,
    IMAGE,
    SEMANTIC_CODEC,
    STATES,
    AnswerConfig,
    ChannelCode,
    EarlierTraining,
    ImageConfig,
    TextConfig,
    TrainingConfig,
    TransformerSize,
)
from .family import ImageAndTextSystem
from .layers import ChannelDecoder, by_task, decoder_layers, learned_tokens, task_names
from .receiver import AnsweringReceiver, Vectors

_RATE = {"learning_rates": (3e-4,)}
"""At 5e-4 and above, the validation loss on MiniCLEVR falls less far."""


class Udeepsc(ImageAndTextSystem):
    """Vectors of image and text, decoded by queries.

    The published text classification sends one vector of 4 to 6 reals instead of two: a study of
    reviews alone sets ``text.vectors: 1``.

    Attributes:
        image: What the image device sends; 3 vectors of 16 reals are published.
        text: What the text device sends; 2 vectors of 6 reals are published.
        decoder: Transformer of the receiver.
        queries: Number of learned queries of a task; the mean of their outputs is classified.
        shared: Whether all tasks of a mixture share one model, except for queries and learned
            tokens (U-DeepSC), or each has a model of its own (T-DeepSC).
    """

    name: Literal["udeepsc"] = "udeepsc"
    image: ImageConfig = ImageConfig(
        detail=HIGH_RESOLUTION,
        size=TransformerSize(width=64, depth=1, heads=4, feedforward=128),
        vectors=3,
        code=ChannelCode(reals=16),
    )
    text: TextConfig = TextConfig(
        layer=STATES,
        size=TransformerSize(width=64, depth=1, heads=4, feedforward=128),
        vectors=2,
        code=ChannelCode(reals=6),
    )
    decoder: TransformerSize = TransformerSize(width=64, depth=2, heads=4, feedforward=256)
    queries: int = Field(default=25, ge=1)
    shared: bool = True
    answers: AnswerConfig = AnswerConfig(classes=32, loss="sigmoid")
    semantic: EarlierTraining | None = SEMANTIC_CODEC.model_copy(update=_RATE)
    training: TrainingConfig = FROM_FROZEN.model_copy(update=_RATE)
    dropout: float = Field(default=0.0, ge=0, lt=1)

    METHODS: ClassVar[dict[str, dict[str, Any]]] = {
        "t-deepsc": {
            "summary": "T-DeepSC: 3 vectors of an image, 2 of a text, one model for each task",
            "shared": False,
        },
        "u-deepsc": {
            "summary": "U-DeepSC: 3 vectors of an image, 2 of a text, one model for all tasks",
            "shared": True,
        },
    }

    @property
    def receiver_macs(self) -> int:
        """Multiplications by a weight in one model, as a sample runs through that of its task."""
        width, image, text = self.decoder.width, self.image.sent, self.text.sent
        decoded = image * self.image.code.decoder_macs(width)
        decoded += text * self.text.code.decoder_macs(width)
        queried = self.decoder.macs(self.queries, memory=image + text)
        return decoded + queried + width * self.answers.classes

    def models(self, task: Task) -> int:
        return 1 if self.shared else len(task_names(task))

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        return QueryReceiver(self, task, seeded, pick_device(torch_device))


class QueryReceiver(AnsweringReceiver):
    """One :class:`TaskDecoder` for all tasks, or one for each task."""

    def __init__(self, system: Udeepsc, task: Task, seeded: Seeded, device: torch.device) -> None:
        codes = {IMAGE: system.image.code, task.texts[-1]: system.text.code}
        tasks, models = task_names(task), system.models(task)
        super().__init__(codes, tasks, system.answers, task.texts[-1], device)
        with seeded("receiver"):
            self.decoders = nn.ModuleList(
                TaskDecoder(system, codes, len(tasks) if models == 1 else 1, self.answers)
                for _ in range(models)
            ).to(device)

    def logits(self, vectors: Vectors, task: Tensor) -> Tensor:
        names = tuple(vectors)

        def run(number: int, own: Tensor, *parts: Tensor) -> tuple[Tensor, ...]:
            pairs = zip(parts[::2], parts[1::2], strict=True)
            return (self.decoders[number](dict(zip(names, pairs, strict=True)), own),)

        parts = (part for pair in vectors.values() for part in pair)
        (found,) = by_task(run, len(self.decoders), task, *parts)
        return found


class TaskDecoder(nn.Module):
    """The decoder of one model: task queries attend to the received vectors of all streams."""

    def __init__(
        self, system: Udeepsc, codes: dict[str, ChannelCode], tasks: int, answers: AnswerSet
    ) -> None:
        super().__init__()
        width = system.decoder.width
        self.channel = nn.ModuleDict({n: ChannelDecoder(width, code) for n, code in codes.items()})
        self.queries = learned_tokens(tasks, system.queries, width)
        self.layers = decoder_layers(system.decoder, system.dropout)
        self.head = answers.head(width)

    def forward(self, vectors: Vectors, task: Tensor) -> Tensor:
        """Logits ``[B, C]`` from what has been received of each stream."""
        memory = torch.cat([self.channel[name](own) for name, (own, _) in vectors.items()], dim=1)
        unsent = ~torch.cat([valid for _, valid in vectors.values()], dim=1)
        found = self.layers(self.queries[task], memory, memory_key_padding_mask=unsent)
        logits: Tensor = self.head(found.mean(1))
        return logits
