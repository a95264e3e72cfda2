"""Transmitters of paper 1: tokens of a clip or image, or embedded text, as complex symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from torch import Tensor, nn

from ...datasets.samples import Samples
from ...devices import pick_device
from ...features import TextStore, open_features, open_texts
from ...selection import TokenScorer
from ..sides import Transmitter
from ..streams import Stream
from ..tokens import pack


class MediaTransmitter(Transmitter):
    """The projection F_m of eq. (4) on selected tokens of the feature store, followed by eq. (5).

    A sample without the medium sends nothing.

    Args:
        features: Feature store of each split.
        count: Token length s_m.
        token_width: Features of a token of the foundation model, d_T.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self, features: Mapping[str, Path], count: int, token_width: int, torch_device: str
    ) -> None:
        super().__init__()
        opened = {folder: open_features(folder) for folder in set(features.values())}
        self._stores = {split: opened[folder] for split, folder in features.items()}
        self._count = count
        width = next(iter(opened.values())).width
        self._device = pick_device(torch_device)
        self.projection = nn.Linear(width, token_width).to(self._device)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return list(self.projection.parameters())

    def set_length(self, count: int) -> None:
        self._count = count

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        store = self._stores[split]
        tokens = store.select(samples.media_id, self._count)
        valid = store.present(samples.media_id)[:, None].expand(tokens.shape[:2])
        return tokens.to(self._device), valid.to(self._device)

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        tokens, valid = inputs
        return pack(self.projection(tokens), valid)


class LearnedTransmitter(MediaTransmitter):
    """A media transmitter with a learned selection in place of eq. (3).

    Args:
        features: Feature store of each split.
        lengths: Number of stored tokens to select from, and of those that are sent.
        token_width: Features of a token of the foundation model, d_T.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self,
        features: Mapping[str, Path],
        lengths: tuple[int, int],
        token_width: int,
        torch_device: str,
    ) -> None:
        stored, self._sent = lengths
        super().__init__(features, stored, token_width, torch_device)
        self.scorer = TokenScorer(self.projection.in_features).to(self._device)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return [*super().trainable(phase), *self.scorer.parameters()]

    def set_length(self, count: int) -> None:
        self._sent = count

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        tokens, valid = inputs
        return super().forward(stream, self.scorer(tokens, self._sent), valid[:, : self._sent])


class TextTransmitter(Transmitter):
    """Embedded text, padded to the longest of the batch, followed by eq. (5).

    Its tokens have the foundation model's dimension, so that nothing is projected or trained.

    Args:
        features: Text store of each split.
        streams: The streams that it sends, each a column of the samples.
        torch_device: Torch device or ``auto``.
    """

    def __init__(
        self, features: Mapping[str, Path], streams: Sequence[Stream], torch_device: str
    ) -> None:
        super().__init__()
        self._texts = _texts(next(iter(features.values())))
        self._streams = {stream.name: stream for stream in streams}
        self._device = pick_device(torch_device)

    def trainable(self, phase: str) -> list[nn.Parameter]:
        return []

    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        own = self._streams[stream]
        assert own.text is not None
        tokens, valid = self._texts.select(samples[own.text], own.max_tokens)
        return tokens.to(self._device), valid.to(self._device)

    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        tokens, valid = inputs
        return pack(tokens, valid)


@lru_cache(maxsize=2)
def _texts(folder: Path) -> TextStore:
    """A text store, which the devices of one process share."""
    return open_texts(folder)
