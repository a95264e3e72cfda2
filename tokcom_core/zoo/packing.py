"""Packed sequences for a small Qwen2: one context and several texts about it, side by side.

Shapes: ``B`` sequences, ``S`` tokens, ``W`` words that one token mixes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import Qwen2ForCausalLM

from ..answers import IGNORED


@dataclass
class Packed:
    """A prefix and the texts that follow it, side by side in one sequence.

    ``segment`` is 0 for the prefix and 1, 2, ... for the texts that follow it; a segment sees only
    the prefix and itself. A soft token is the normalised sum of several words; an ordinary token
    has just one word.
    """

    words: list[tuple[int, ...]] = field(default_factory=list)
    segment: list[int] = field(default_factory=list)
    position: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)
    weight: list[float] = field(default_factory=list)

    def append(self, ids: list[int], weights: list[float], segment: int, start: int) -> None:
        """Adds text; predicting its token i from token i-1 has the weight ``weights[i]``."""
        for i, token in enumerate(ids):
            last = i + 1 == len(ids)
            self._add((token,), segment, start + i, IGNORED if last else ids[i + 1])
            self.weight.append(0.0 if last else weights[i + 1])

    def append_soft(self, mixtures: Sequence[tuple[int, ...]], segment: int, start: int) -> None:
        """Adds soft tokens, each a mixture of words; they are not predicted."""
        for i, words in enumerate(mixtures):
            self._add(words, segment, start + i, IGNORED)
            self.weight.append(0.0)

    def _add(self, words: tuple[int, ...], segment: int, position: int, target: int) -> None:
        self.words.append(words)
        self.segment.append(segment)
        self.position.append(position)
        self.target.append(target)


def collate(packed: list[Packed]) -> dict[str, Tensor]:
    """Pads packed sequences; ``words`` is ``[B, S, W]`` with -1 where a token mixes fewer."""
    batch, length = len(packed), max(len(p.words) for p in packed)
    width = max((len(w) for p in packed for w in p.words), default=1)
    words = np.full((batch, length, width), -1, dtype=np.int64)
    segment = np.full((batch, length), -1, dtype=np.int64)
    position = np.zeros((batch, length), dtype=np.int64)
    target = np.full((batch, length), IGNORED, dtype=np.int64)
    weight = np.zeros((batch, length), dtype=np.float32)
    for b, p in enumerate(packed):
        n = len(p.words)
        for i, mixture in enumerate(p.words):
            words[b, i, : len(mixture)] = mixture
        segment[b, :n], position[b, :n] = p.segment, p.position
        target[b, :n], weight[b, :n] = p.target, p.weight
    arrays = {
        "words": words,
        "segment": segment,
        "position": position,
        "target": target,
        "weight": weight,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def block_mask(segment: Tensor) -> Tensor:
    """Additive causal mask ``[B, 1, S, S]`` that shows a token only its segment and the prefix."""
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = segment[:, :, None] == segment[:, None, :]
    prefix = (segment == 0)[:, None, :]
    return torch.where((same | prefix) & causal, 0.0, float("-inf"))[:, None]


def embed(
    model: Qwen2ForCausalLM, words: Tensor, noise: float, generator: torch.Generator
) -> Tensor:
    """Embeds a token as its words' mean embedding times sqrt(count); soft tokens get noise."""
    table = model.get_input_embeddings().weight
    present = (words >= 0).unsqueeze(-1)
    count = present.sum(2)
    total = (F.embedding(words.clamp(min=0), table) * present).sum(2)
    rms = table.detach().pow(2).mean().sqrt()
    soft = count != 1
    disturbance = torch.randn(total.shape, generator=generator) * rms * noise
    embedded: Tensor = total / count.clamp(min=1).sqrt() + disturbance * soft
    return embedded
