"""The two transmitters of the DeepSC family: frozen patches of an image, or words, as symbols.

Shapes: ``B`` batch, ``S`` patches or words, ``V`` vectors that are sent, ``T`` tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
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
        config: Sizes of the encoders, and what is sent.
        embed: Makes what embeds the inputs of an encoder.
        length: Maximum number of inputs S.
        tasks: Names of the tasks.
        models: 1, or one encoder for each task.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self,
        config: ImageConfig | TextConfig,
        embed: Callable[[], nn.Module],
        length: int,
        tasks: tuple[str, ...],
        models: int,
        torch_device: str,
    ) -> None:
        super().__init__()
        self._tasks = tasks
        self._device = pick_device(torch_device)
        sharing = len(tasks) if models == 1 else 1
        self.encoders = nn.ModuleList(
            SemanticEncoder(embed(), config.size, length, config.vectors, sharing)
            for _ in range(models)
        ).to(self._device)
        self.codes = nn.ModuleList(
            channel_encoder(config.size.width, config.code) for _ in range(models)
        ).to(self._device)

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
        self._length = config.length
        width = next(iter(opened.values())).width
        embed = partial(nn.Linear, width, config.size.width)
        super().__init__(config, embed, config.length, tasks, models, torch_device)

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
        self._longest = config.max_words
        embed = partial(nn.Embedding, self._texts.known, config.size.width)
        super().__init__(config, embed, config.max_words, tasks, models, torch_device)

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        return self._inputs(*self._texts.ids(samples[stream], self._longest), samples)
