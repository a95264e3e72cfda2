"""The pictures that the drawing checkpoints learn from, and the judge that sees them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from ...datasets.miniclevr.drawing import (
    DRAWN_CELLS,
    draw_cells,
    sample_drawn_scene,
)
from ...datasets.miniclevr.labels import cell_labels
from ...datasets.miniclevr.scene import ATTRIBUTES, Scene
from ...diffusion.judge import WEIGHTS, Judge, to_input
from ..training import Recipe, fit

JUDGE_RECIPE = Recipe(steps=400, batch_size=32, learning_rate=3e-3)
_HELD_OUT = 0.1


@dataclass(frozen=True)
class Pictures:
    """Drawn scenes: ``pixels`` ``[B, 3, H, W]`` in [-1, 1]; the last tenth is held out."""

    scenes: list[Scene]
    pixels: Tensor

    @property
    def trained(self) -> int:
        """Number of pictures to train on."""
        return len(self.scenes) - int(_HELD_OUT * len(self.scenes))

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Indices ``[count]`` of a batch to train on."""
        return torch.randint(self.trained, (count,), generator=generator)


def make_pictures(count: int, seed: int) -> Pictures:
    """Draws ``count`` scenes of two solids in nine cells."""
    rng = np.random.default_rng(seed)
    scenes = [sample_drawn_scene(rng) for _ in range(count)]
    return Pictures(scenes, torch.stack([to_input(draw_cells(scene, rng)) for scene in scenes]))


def train_judge(
    pictures: Pictures, reconstructed: Tensor, out: Path, recipe: Recipe, seed: int
) -> dict[str, float]:
    """Trains the judge on rendered pictures and on their reconstructions, half and half.

    Whatever a pipeline draws comes out of its autoencoder, so that a judge that has only seen clean
    pictures would have to judge something else.

    Args:
        pictures: Rendered pictures, and the renderer's truth.
        reconstructed: The same pictures out of the autoencoder.
        out: Folder of the weights.
        recipe: Length of the training.
        seed: Seed of all random draws.

    Returns:
        Held-out accuracies: of each attribute of a solid, over both sorts of pictures, and of whole
        ``rendered`` and ``reconstructed`` pictures, which are right if every cell is.
    """
    torch.manual_seed(seed)
    judge = Judge()
    labels = cell_labels(pictures.scenes, cells=DRAWN_CELLS)
    generator = torch.Generator().manual_seed(seed)

    def loss() -> Tensor:
        chosen = pictures.draw(recipe.batch_size, generator)
        half = len(chosen) // 2
        pixels = torch.cat([pictures.pixels[chosen[:half]], reconstructed[chosen[half:]]])
        told = judge(pixels).items()
        losses = [F.cross_entropy(t.flatten(0, 1), labels[n][chosen].flatten()) for n, t in told]
        return torch.stack(losses).sum()

    fit(judge.parameters(), recipe, loss)
    out.mkdir(parents=True, exist_ok=True)
    save_file(judge.state_dict(), out / WEIGHTS)
    return _score_judge(judge.eval(), pictures, reconstructed, labels)


@torch.no_grad()
def _score_judge(
    judge: Judge, pictures: Pictures, reconstructed: Tensor, labels: dict[str, Tensor]
) -> dict[str, float]:
    held_out = slice(pictures.trained, None)
    by_attribute: dict[str, list[Tensor]] = {name: [] for name in ATTRIBUTES}
    whole = {}
    for sort, pixels in (("rendered", pictures.pixels), ("reconstructed", reconstructed)):
        told = {name: logits.argmax(-1) for name, logits in judge(pixels[held_out]).items()}
        hits = {name: told[name] == labels[name][held_out] for name in ATTRIBUTES}
        for name, own in hits.items():
            by_attribute[name].append(own[labels[name][held_out] > 0].float())
        whole[sort] = float(torch.stack(list(hits.values())).all(0).all(-1).float().mean())
    return {name: float(torch.cat(own).mean()) for name, own in by_attribute.items()} | whole
