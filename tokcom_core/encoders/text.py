"""Frozen encoders of text: the input embeddings of eq. (1), and hidden states of a layer above."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import AutoModel

from ..checkpoints.loading import load_input_embedding, load_model, load_tokenizer, text_ids
from ..devices import pick_device, pick_dtype
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
        return text_ids(self.tokenizer, text)

    def __call__(self, ids: Tensor) -> Tensor:
        """Y_T ``[B, s_T, d_T]`` of token ids ``[B, s_T]``."""
        embedded: Tensor = self.embedding(ids.to(self._device))
        return embedded


class StateEncoder:
    """The hidden states of a frozen language model, or of a BERT.

    Args:
        name: Name of the checkpoint.
        layer: Hidden state that is taken, as transformers counts them (0: before the first layer).
        device: Torch device or ``auto``.
    """

    def __init__(self, name: str, layer: int, device: str = "auto") -> None:
        self.name, self.layer = name, layer
        self.tokenizer = load_tokenizer(name, answers=False)
        self._device = pick_device(device)
        model = load_model(AutoModel, name, "language", pick_dtype(self._device))
        self.width = int(model.config.get_text_config().hidden_size)
        self._model = freeze(model, self._device)

    def ids(self, text: str, max_tokens: int) -> list[int]:
        """Token ids of a text, with the special tokens that the model is used to, such as CLS.

        A text of more than ``max_tokens`` keeps its first words and all special tokens.
        """
        options = {"truncation": True, "max_length": max_tokens}
        ids: list[int] = self.tokenizer(text, **options)["input_ids"]
        return ids

    @torch.no_grad()
    def __call__(self, ids: Tensor, valid: Tensor) -> Tensor:
        """States ``[B, S, D]``, float32 on the CPU, of token ids ``[B, S]`` padded at the end."""
        ids, mask = ids.to(self._device), valid.long().to(self._device)
        output = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        states: Tensor = output.hidden_states[self.layer]
        return states.float().cpu()
