"""The two transmitters of the DeepSC family: frozen patches of an image, or words, as symbols.

Shapes: ``B`` batch, ``S`` patches or words, ``V`` vectors that are sent, ``T`` tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from ...datasets.samples import Samples
from ...devices import pick_device
from ...features import open_features, open_texts
from ..base import Transmitter
from ..mlms.transceiver import pack
from .config import ImageConfig, TextConfig
from .layers import SemanticEncoder, by_task, channel_encoder, task_indices


class VectorTransmitter(Transmitter):
    """A semantic encoder and a channel encoder, for all tasks or one of each for every task.

    Args:
        encoders: Semantic encoder of each task, or a single one that they share.
        codes: Channel encoder of each, likewise.
        tasks: Names of the tasks.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self,
        encoders: Sequence[SemanticEncoder],
        codes: Sequence[nn.Module],
        tasks: tuple[str, ...],
        torch_device: str,
    ) -> None:
        super().__init__()
        self._tasks = tasks
        self._device = pick_device(torch_device)
        self.encoders = nn.ModuleList(encoders).to(self._device)
        self.codes = nn.ModuleList(codes).to(self._device)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return list(self.parameters())

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        tokens, valid, task = inputs
        sent, filled = by_task(self._encode, len(self.encoders), task, tokens, valid)
        sending = valid.any(1, keepdim=True)  # a question without an image has none to send
        return pack(sent, filled & sending)

    def _encode(
        self, number: int, task: Tensor, tokens: Tensor, valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        vectors, filled = self.encoders[number](tokens, valid, task)
        return self.codes[number](vectors), filled

    def _inputs(self, tokens: Tensor, valid: Tensor, samples: Samples) -> tuple[Tensor, ...]:
        task = task_indices(samples, self._tasks)
        return tuple(own.to(self._device) for own in (tokens, valid, task))


class ImageTransmitter(VectorTransmitter):
    """Sends the frozen features of an image; nothing of a sample without one."""

    def __init__(
        self,
        config: ImageConfig,
        features: Mapping[str, Path],
        tasks: tuple[str, ...],
        models: int,
        torch_device: str,
    ) -> None:
        opened = {folder: open_features(folder) for folder in set(features.values())}
        self._stores = {split: opened[folder] for split, folder in features.items()}
        self._length, size = config.length, config.size
        width = next(iter(opened.values())).width
        encoders = [
            SemanticEncoder(
                nn.Linear(width, size.width),
                size,
                config.length,
                config.vectors,
                len(tasks) if models == 1 else 1,
            )
            for _ in range(models)
        ]
        codes = [channel_encoder(size.width, config.code) for _ in encoders]
        super().__init__(encoders, codes, tasks, torch_device)

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        store = self._stores[split]
        tokens = store.select(samples.media_id, self._length)
        valid = store.present(samples.media_id)[:, None].expand(tokens.shape[:2])
        return self._inputs(tokens, valid, samples)


class TextTransmitter(VectorTransmitter):
    """Sends the words of a text, whose embedding is trained."""

    def __init__(
        self,
        config: TextConfig,
        features: Mapping[str, Path],
        tasks: tuple[str, ...],
        models: int,
        torch_device: str,
    ) -> None:
        self._texts = open_texts(next(iter(features.values())))
        self._longest, size = config.max_words, config.size
        encoders = [
            SemanticEncoder(
                nn.Embedding(self._texts.known, size.width),
                size,
                config.max_words,
                config.vectors,
                len(tasks) if models == 1 else 1,
            )
            for _ in range(models)
        ]
        codes = [channel_encoder(size.width, config.code) for _ in encoders]
        super().__init__(encoders, codes, tasks, torch_device)

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        return self._inputs(*self._texts.ids(samples[stream], self._longest), samples)
