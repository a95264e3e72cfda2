"""The loop that trains a pocket network: AdamW, one cycle of the learning rate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

logger = logging.getLogger(__name__)

_LOG_EVERY = 100


@dataclass(frozen=True)
class Recipe:
    """How long and how fast a pocket network is trained."""

    steps: int
    batch_size: int
    learning_rate: float


def fit(
    parameters: Iterable[nn.Parameter], recipe: Recipe, batch_loss: Callable[[], Tensor]
) -> None:
    """Trains ``parameters`` on ``recipe.steps`` batches.

    Args:
        parameters: What is trained.
        recipe: Number of steps, and peak learning rate, which is reached after a tenth of them.
        batch_loss: Draws a batch and returns its loss, a scalar.
    """
    trained = list(parameters)
    optimizer = AdamW(trained, lr=recipe.learning_rate, weight_decay=0.05)
    schedule = OneCycleLR(
        optimizer, max_lr=recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    for step in range(recipe.steps):
        loss = batch_loss()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        if step % _LOG_EVERY == 0:
            logger.info("step %d of %d, loss %.3f", step, recipe.steps, loss.item())
