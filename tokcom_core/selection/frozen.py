"""Selections without trained weights, which the feature store keeps for every token length.

Shapes: ``L`` tokens of a clip, ``s`` tokens that are sent, ``D`` features of a token.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F


def select(
    selection: Literal["mean-pool", "norm", "attention"],
    tokens: Tensor,
    attention: Tensor | None,
    count: int,
) -> Tensor:
    """Selects or pools ``count`` tokens ``[s, D]`` from those of a clip, in the encoder's order.

    Args:
        selection: Selection other than the slide.
        tokens: All tokens ``[L, D]``.
        attention: Attention ``[L]`` to each of them; only the selection ``attention`` needs it.
        count: Number of tokens s.

    Raises:
        ValueError: unless 1 <= count <= L.
    """
    if not 1 <= count <= len(tokens):
        raise ValueError(
            f"cannot select {count} of {len(tokens)} tokens; choose 1 to {len(tokens)}"
        )
    if selection == "mean-pool":
        pooled: Tensor = F.adaptive_avg_pool1d(tokens.T, count).T
        return pooled
    if selection == "norm":
        return tokens[highest(tokens.norm(dim=1), count)]
    assert attention is not None
    return tokens[highest(attention, count)]


def highest(scores: Tensor, count: int) -> Tensor:
    """Ascending positions ``[..., s]`` of the highest scores ``[..., L]``; of ties, the first."""
    order: Tensor = scores.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return order.sort(dim=-1).values
