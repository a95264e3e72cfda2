"""The text encoder of eq. (1): the foundation model's own tokenizer and input embeddings."""

from __future__ import annotations

from torch import Tensor

from ..checkpoints.loading import load_input_embedding, load_tokenizer
from ..devices import pick_device
from .base import freeze


class TextEncoder:
    """Eq. (1): the foundation model's tokenizer and frozen input embeddings."""

    def __init__(self, name: str, device: str = "auto") -> None:
        self.name = name
        self.tokenizer = load_tokenizer(name, answers=False)
        embedding = load_input_embedding(name)
        self.width = embedding.embedding_dim
        self._device = pick_device(device)
        self.embedding = freeze(embedding, self._device)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def __call__(self, ids: Tensor) -> Tensor:
        """Y_T ``[B, s_T, d_T]`` of token ids ``[B, s_T]``."""
        embedded: Tensor = self.embedding(ids.to(self._device))
        return embedded
