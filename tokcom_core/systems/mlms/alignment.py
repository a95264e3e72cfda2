"""The contrastive loss of the alignment phase, across modalities, with text as the anchor."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def info_nce(features: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    """Eq. (11): contrastive loss of features a_m towards text features a_T, both ``[B, D]``.

    The k-th term of the denominator has the text features of the k-th sample of the batch.
    Log-sum-exp keeps the loss finite at any temperature.

    Raises:
        ValueError: unless the temperature is positive.
    """
    if temperature <= 0:
        raise ValueError(f"temperature {temperature} should be positive; the paper takes 0.07")
    similarity = F.normalize(features, dim=-1) @ F.normalize(anchors, dim=-1).T
    own = torch.arange(len(features), device=features.device)
    return F.cross_entropy(similarity / temperature, own)
