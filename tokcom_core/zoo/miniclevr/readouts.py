"""What tokens mean, read out of inner layers while MiniCLEVR's language model is pretrained."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...answers import IGNORED
from .packing import DENOTED, MEANINGS


class ReadOuts(nn.Module):
    """Linear read-outs of what tokens mean from one layer's states ``[B, S, width]``.

    Args:
        width: Features of a state.
        names: Which of :data:`MEANINGS` to read out; ``denoted`` always is.
    """

    def __init__(self, width: int, names: Collection[str]) -> None:
        super().__init__()
        self.denoted = nn.ModuleDict({name: nn.Linear(width, n) for name, n in DENOTED.items()})
        self.binary, self.counts = (
            nn.ModuleDict({n: nn.Linear(width, MEANINGS[n]) for n in own if n in names})
            for own in (("matched", "same"), ("placed", "related"))
        )

    def loss(self, states: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """The sum of cross-entropies, and of squared errors of counts.

        The cross-entropies of the facts about a single solid are averaged first.
        """
        told = [
            _mean(F.cross_entropy(head(states).transpose(1, 2), truth, reduction="none"), truth)
            for head, truth in zip(self.denoted.values(), batch["denoted"].unbind(-1), strict=True)
        ]
        loss = told[0] + torch.stack(told[1:]).mean()
        for name, head in self.binary.items():
            truth, logits = batch[name], head(states)
            target = truth.clamp(min=0).to(logits.dtype)
            errors = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
            loss = loss + _mean(errors, truth)
        for name, head in self.counts.items():
            loss = loss + _mean((head(states) - batch[name]).square(), batch[name])
        return loss


def _mean(losses: Tensor, truth: Tensor) -> Tensor:
    """Mean where there is a truth; 0 where there is none at all."""
    counted = truth != IGNORED
    return (losses * counted).sum() / counted.sum().clamp(min=1)
