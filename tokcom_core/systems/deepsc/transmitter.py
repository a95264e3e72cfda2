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
from ...features import open_features, open_states, open_texts
from ..base import FeatureFolders
from ..sides import Transmitter
from ..tokens import pack
from .config import IMAGE, ImageConfig, TextConfig, patches
from .embeddings import FeatureEmbedding, PatchEmbedding
from .layers import SemanticEncoder, by_task, channel_encoder, task_indices


class VectorTransmitter(Transmitter):
    """A semantic encoder and a channel encoder: one pair for all tasks, or one for each task.

    Args:
        config: Sizes of the encoders, and what is sent.
        embed: Makes the module that embeds the inputs of an encoder.
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
        *tokens, valid, task = inputs
        sent, filled = by_task(self._encode, len(self.encoders), task, valid, *tokens)
        sending = valid.any(1, keepdim=True)  # a sample without an image has none to send
        return pack(sent, filled & sending)

    def _encode(
        self, number: int, task: Tensor, valid: Tensor, *tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        vectors, filled = self.encoders[number](tokens, valid, task)
        return self.codes[number](vectors), filled

    def _inputs(
        self, tokens: tuple[Tensor, ...], valid: Tensor, samples: Samples
    ) -> tuple[Tensor, ...]:
        task = task_indices(samples, self._tasks)
        return tuple(own.to(self._device) for own in (*tokens, valid, task))


class ImageTransmitter(VectorTransmitter):
    """Sends the frozen features of an image; a sample without an image sends nothing.

    Args:
        config: Sizes of the encoders, and what is sent.
        features: Feature stores of each split, by the names of the encoders.
        tasks: Names of the tasks.
        models: 1, or one encoder for each task.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self,
        config: ImageConfig,
        features: FeatureFolders,
        tasks: tuple[str, ...],
        models: int,
        torch_device: str,
    ) -> None:
        opened = {f: open_features(f) for own in features.values() for f in own.values()}
        self._stores = {
            name: {split: opened[folder] for split, folder in own.items()}
            for name, own in features.items()
        }
        self._lengths = {name: patches(own) for name, own in config.encoders.items()}
        embed = partial(PatchEmbedding, config)
        super().__init__(config, embed, config.length, tasks, models, torch_device)

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        stores = {name: own[split] for name, own in self._stores.items()}
        tokens = [stores[n].select(samples.media_id, count) for n, count in self._lengths.items()]
        present = stores[IMAGE].present(samples.media_id)[:, None]
        return self._inputs(tuple(tokens), present.expand(tokens[0].shape[:2]), samples)


class TextTransmitter(VectorTransmitter):
    """Sends the words of a text: frozen states, or ids whose embedding is trained."""

    def __init__(
        self,
        config: TextConfig,
        features: Mapping[str, Path],
        tasks: tuple[str, ...],
        models: int,
        torch_device: str,
    ) -> None:
        folder = next(iter(features.values()))
        embed: Callable[[], nn.Module]
        if config.layer is None:
            texts = open_texts(folder)
            self._select = texts.ids
            embed = partial(nn.Embedding, texts.known, config.size.width)
        else:
            states = open_states(folder)
            self._select = states.select
            embed = partial(FeatureEmbedding, states.width, config.size.width)
        self._longest = config.max_words
        super().__init__(config, embed, config.max_words, tasks, models, torch_device)

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        tokens, valid = self._select(samples[stream], self._longest)
        return self._inputs((tokens,), valid, samples)
