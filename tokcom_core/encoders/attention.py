"""What the summary tokens of a transformer attend to in its last layer.

Transformers returns attention only from its ``eager`` implementation, of all layers and all pairs
of tokens at once; here only the summary tokens' rows of the last layer are computed.
Shapes: ``W`` windows, ``L`` tokens, ``H`` heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .base import MediaEncoder, encode_windows


class AttendingEncoder(MediaEncoder):
    """A transformer, frozen on its device, whose summary tokens attend to the others."""

    _model: nn.Module
    _device: torch.device

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        return encode_windows(self._model, clips, self._device)

    def encode_attended(self, clips: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return encode_attended(self._model, clips, self._device, self.summary_tokens)


def encode_attended(
    model: nn.Module, clips: Sequence[Tensor], device: torch.device, summary_tokens: int
) -> list[tuple[Tensor, Tensor]]:
    """Tokens ``[W, L, D]`` of each file, and the attention ``[W, L]`` to each of them.

    Attention is that of the last layer, the mean over its heads and the summary tokens.

    Args:
        model: A model of transformers whose attention has ``q_proj``, ``k_proj`` and ``v_proj``.
        clips: The model's inputs of each file, see :func:`encode_windows`.
        device: Torch device of the model.
        summary_tokens: Number of tokens at the front that attend.
    """
    last: Any = [module for module in model.modules() if hasattr(module, "v_proj")][-1]
    attentions: list[Tensor] = []

    def attend(_: nn.Module, inputs: tuple[Tensor]) -> None:
        attentions.append(_attention(last, inputs[0], summary_tokens).cpu())

    hook = last.v_proj.register_forward_pre_hook(attend)
    try:
        tokens = encode_windows(model, clips, device)
    finally:
        hook.remove()
    attention = torch.cat(attentions).split([len(clip) for clip in clips])
    return list(zip(tokens, attention, strict=True))


def _attention(layer: Any, states: Tensor, summary_tokens: int) -> Tensor:
    """Mean attention ``[W, L]`` of the summary tokens to all tokens, given states ``[W, L, D]``."""
    queries = layer.q_proj(states[:, :summary_tokens]).unflatten(-1, (-1, layer.head_dim))
    keys = layer.k_proj(states).unflatten(-1, (-1, layer.head_dim))
    scores = torch.einsum("wqhe,wkhe->whqk", queries, keys) * layer.head_dim**-0.5
    mean: Tensor = scores.float().softmax(-1).mean((1, 2))
    return mean
