"""The judge: a classifier that tells what each cell of a drawn picture shows.

Shapes: ``B`` pictures, ``C`` cells row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ..datasets.miniclevr.drawing import DRAWN_CELLS, Wish
from ..datasets.miniclevr.scene import ATTRIBUTES, CELL_PIXELS, Scene, Solid

WEIGHTS = "model.safetensors"
_WIDTH = 32


class Judge(nn.Module):
    """A convolutional network that classifies what each cell of a picture shows.

    It maps pictures ``[B, 3, DRAWN_PIXELS, DRAWN_PIXELS]`` in [-1, 1] to logits
    ``[B, C, 1 + values]`` by attribute, where class 0 is an empty cell.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.PixelUnshuffle(2),
            *_block(12, _WIDTH, stride=1),
            *_block(_WIDTH, _WIDTH, stride=2),
            *_block(_WIDTH, 2 * _WIDTH, stride=2),
            *_block(2 * _WIDTH, 2 * _WIDTH, stride=2),
            *_block(2 * _WIDTH, 2 * _WIDTH, stride=1),
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(2 * _WIDTH, 1 + len(values)) for name, values in ATTRIBUTES.items()}
        )

    def forward(self, pictures: Tensor) -> dict[str, Tensor]:
        cells = self.features(pictures).flatten(2).transpose(1, 2)
        return {name: head(cells) for name, head in self.heads.items()}

    @torch.no_grad()
    def see(self, pictures: Sequence[NDArray[np.uint8]]) -> list[Scene]:
        """What pictures ``[DRAWN_PIXELS, DRAWN_PIXELS, 3]`` show, solids in reading order.

        A cell is empty where the judge sees no shape in it.
        """
        logits = self(torch.stack([to_input(picture) for picture in pictures]))
        occupied = logits["shape"].argmax(-1) > 0
        values = torch.stack([logits[name][..., 1:].argmax(-1) for name in ATTRIBUTES], dim=-1)
        return [
            Scene(
                tuple(_solid(values[i, at].tolist(), at) for at in cells.nonzero()[:, 0].tolist())
            )
            for i, cells in enumerate(occupied)
        ]


def _block(width_in: int, width: int, stride: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(width_in, width, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(width), nn.GELU()


def _solid(values: list[int], cell: int) -> Solid:
    size, color, material, shape = values
    row, column = divmod(cell, DRAWN_CELLS)
    half = CELL_PIXELS // 2
    x, y = column * CELL_PIXELS + half, row * CELL_PIXELS + half
    return Solid((size, color, material, shape), x, y)


def to_input(picture: NDArray[np.uint8]) -> Tensor:
    """A picture ``[H, W, 3]`` as ``[3, H, W]`` in [-1, 1], as diffusion pipelines take it."""
    return torch.from_numpy(picture).permute(2, 0, 1).float() / 127.5 - 1


def load_judge(folder: Path) -> Judge:
    """The judge whose weights ``folder`` holds."""
    judge = Judge()
    judge.load_state_dict(load_file(folder / WEIGHTS))
    return judge.eval()


@dataclass(frozen=True)
class Verdict:
    """How a picture fulfils a wish.

    Attributes:
        attributes: Share of the wished attributes that are right, for the best assignment of the
            drawn solids to the wished ones; a missing solid has none right.
        fulfilled: Whether there are as many solids as wished for, every attribute is right, and
            the solids stand to each other as wished.
    """

    attributes: float
    fulfilled: bool


def judge_wish(seen: Scene, wish: Wish) -> Verdict:
    """Compares what a picture shows with a wish; places matter only for the wished relation."""
    wished = wish.scene.solids
    blanks = max(0, len(wished) - len(seen.solids))
    best, fulfilled = 0.0, False
    for chosen in permutations([*range(len(seen.solids)), *[None] * blanks], len(wished)):
        hits = [
            wanted == drawn
            for solid, i in zip(wished, chosen, strict=True)
            if i is not None
            for wanted, drawn in zip(solid.values, seen.solids[i].values, strict=True)
        ]
        best = max(best, sum(hits) / (len(wished) * len(ATTRIBUTES)))
        first, second = chosen
        if len(seen.solids) == len(wished) and all(hits) and first is not None:
            fulfilled |= first in seen.related(wish.relation, second)
    return Verdict(best, fulfilled)
