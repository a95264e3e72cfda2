"""Token receivers and the pooling of their tokens, eqs. (8) and (10).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token (d_T), ``N = S D / 2`` symbols.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..tokens import unpack

VisionPooling = Literal["mean", "cls"]
AudioPooling = Literal["mean", "cls", "cls+distillation", "first_two"]
Pooling = VisionPooling | AudioPooling

RECEIVER_WIDTH = 1024
"""Hidden features of G_m in paper 1's code, for tokens of 1536 features."""


class TokenReceiver(nn.Module):
    """The head G_m of eq. (8): two linear layers with a ReLU between, on eq. (7)'s tokens.

    Args:
        token_width: Features of a token, D.
        hidden_width: Features between the layers.
        sees_noise: Whether the mean noise variance of a token is one more input.
    """

    def __init__(
        self, token_width: int, hidden_width: int = RECEIVER_WIDTH, sees_noise: bool = False
    ) -> None:
        super().__init__()
        self.token_width = token_width
        self.sees_noise = sees_noise
        self.inner = nn.Linear(token_width + sees_noise, hidden_width)
        self.outer = nn.Linear(hidden_width, token_width)

    def forward(self, symbols: Tensor, noise_var: Tensor) -> Tensor:
        """Symbols ``[B, N]`` and their noise variances ``[B, N]`` to tokens Y' ``[B, S, D]``."""
        received = unpack(symbols, self.token_width)
        if self.sees_noise:
            of_token = noise_var.reshape(*received.shape[:2], -1).mean(-1, keepdim=True)
            received = torch.cat([received, of_token.to(received.dtype)], dim=-1)
        tokens: Tensor = self.outer(torch.relu(self.inner(received)))
        return tokens

    @torch.no_grad()
    def rescale(self, factor: float) -> None:
        """Multiplies every output by ``factor``.

        The contrastive loss (11) depends on directions only and leaves the norm of Y' free, while a
        foundation model expects the norm of its own embeddings.
        """
        self.outer.weight.mul_(factor)
        self.outer.bias.mul_(factor)


class IntactText(nn.Module):
    """Replaces G_T in references, where text arrives intact: it only unpacks the symbols."""

    def __init__(self, token_width: int) -> None:
        super().__init__()
        self.token_width = token_width

    def forward(self, symbols: Tensor, noise_var: Tensor) -> Tensor:
        return unpack(symbols, self.token_width)


def pool(tokens: Tensor, valid: Tensor, how: Pooling) -> Tensor:
    """Eq. (10): features a_m ``[B, D]`` of tokens ``[B, S, D]``.

    ``mean`` averages the valid tokens. ``cls`` takes the first token, which should be the encoder's
    class token. ``cls+distillation`` and ``first_two`` average the first two tokens: AST's class
    and distillation tokens, or (as in the code of paper 1's authors) whatever is sent first.
    """
    if how == "mean":
        weight = valid.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)
    return tokens[:, 0] if how == "cls" else tokens[:, :2].mean(1)


def can_pool(valid: Tensor, how: Pooling) -> Tensor:
    """Whether the tokens that :func:`pool` takes are valid, bool ``[B]``."""
    if how == "mean":
        return valid.any(1)
    return valid[:, : 1 if how == "cls" else 2].all(1)
