"""Pretrains MiniCLEVR's pocket tokenizers: CLIP's ViT and a ConvNeXt, at toy size.

Both learn from CLIP's contrastive loss between images and captions, and densely: each token is to
tell what is in its cell. The dense read-outs are taken from the layer that is read later: the last
but one of the ViT, as in LLaVA, and the last stage of the ConvNeXt.

Shapes: ``B`` images, ``S`` tokens, ``D`` features.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextImageProcessorPil,
    ConvNextModel,
    PreTrainedModel,
)

from ...datasets.miniclevr.labels import cell_labels
from ...datasets.miniclevr.scene import (
    ATTRIBUTES,
    CELL_PIXELS,
    COLUMNS,
    IMAGE_PIXELS,
    ROWS,
    Scene,
)
from ...datasets.miniclevr.write import ImagePlan
from ..training import Recipe, fit

LOW_PIXELS, PATCH_PIXELS = IMAGE_PIXELS // 2, CELL_PIXELS // 2
"""Side of the low-resolution image, and of the ViT's patches in it: one patch per cell."""
STAGES = (32, 64)
STEM_PIXELS = 4
_CLIP_LAYER = -2
_JOINT_WIDTH = 64
HELD_OUT = 0.1


@dataclass(frozen=True)
class TokenizerRecipe(Recipe):
    """How a pocket tokenizer is made."""

    dense_weight: float = 1.0


CLIP_RECIPE = TokenizerRecipe(steps=700, batch_size=128, learning_rate=2e-3)
CONVNEXT_RECIPE = TokenizerRecipe(steps=800, batch_size=64, learning_rate=3e-3)


def read_pixels(root: Path, plans: Sequence[ImagePlan]) -> NDArray[np.uint8]:
    """The images of ``plans``, ``[B, IMAGE_PIXELS, IMAGE_PIXELS, 3]``."""
    return np.stack([np.asarray(Image.open(plan.file(root)).convert("RGB")) for plan in plans])


def pretrain_clip(
    pixels: NDArray[np.uint8], scenes: list[Scene], out: Path, recipe: TokenizerRecipe, seed: int
) -> dict[str, float]:
    """Trains CLIP's ViT on images at half their resolution; returns held-out accuracies."""
    square = {"height": LOW_PIXELS, "width": LOW_PIXELS}
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": LOW_PIXELS}, crop_size=square, resample=Image.Resampling.BOX
    )
    torch.manual_seed(seed)
    model = CLIPVisionModel(
        CLIPVisionConfig(
            image_size=LOW_PIXELS,
            patch_size=PATCH_PIXELS,
            hidden_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=192,
            projection_dim=_JOINT_WIDTH,
        )
    )

    def tokens(values: Tensor) -> tuple[Tensor, Tensor]:
        found = model(values, output_hidden_states=True)
        return found.hidden_states[_CLIP_LAYER][:, 1:], found.pooler_output

    trained = _Tokenizer(model, tokens, (96, 96), cell_labels(scenes))
    return _pretrain(trained, processor, pixels, scenes, out, recipe, seed)


def pretrain_convnext(
    pixels: NDArray[np.uint8], scenes: list[Scene], out: Path, recipe: TokenizerRecipe, seed: int
) -> dict[str, float]:
    """Trains ConvNeXt on images at their full resolution; returns held-out accuracies."""
    processor = ConvNextImageProcessorPil(size={"shortest_edge": IMAGE_PIXELS}, crop_pct=1.0)
    torch.manual_seed(seed)
    model = ConvNextModel(
        ConvNextConfig(
            patch_size=STEM_PIXELS,
            num_stages=len(STAGES),
            hidden_sizes=list(STAGES),
            depths=[2] * len(STAGES),
            image_size=IMAGE_PIXELS,
            layer_scale_init_value=1.0,
        )
    )

    def tokens(values: Tensor) -> tuple[Tensor, Tensor]:
        found = model(values)
        return found.last_hidden_state.flatten(2).transpose(1, 2), found.pooler_output

    finer = CELL_PIXELS // (STEM_PIXELS * 2 ** (len(STAGES) - 1))
    trained = _Tokenizer(model, tokens, (STAGES[-1], STAGES[-1]), cell_labels(scenes, finer))
    return _pretrain(trained, processor, pixels, scenes, out, recipe, seed)


@dataclass(frozen=True)
class _Tokenizer:
    """A model and what it is trained with.

    Attributes:
        model: The model.
        tokens: Returns the model's tokens ``[B, S, D]`` and summary ``[B, D]`` of images.
        widths: Features of a token, and of a summary.
        labels: By attribute, what the tokens should tell.
    """

    model: PreTrainedModel
    tokens: Callable[[Tensor], tuple[Tensor, Tensor]]
    widths: tuple[int, int]
    labels: dict[str, Tensor]


class _Heads(nn.Module):
    """Read-outs of the tokens, and the joint space of images and captions.

    The read-outs are linear after a LayerNorm, like those of BAN, which reads the tokens later. A
    caption is represented by what its clauses say: the sum over solids of an MLP of their words.
    """

    def __init__(self, token_width: int, summary_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(token_width)
        self.dense = nn.ModuleDict(
            {name: nn.Linear(token_width, len(values) + 1) for name, values in ATTRIBUTES.items()}
        )
        self.image = nn.Linear(summary_width, _JOINT_WIDTH)
        vocabulary = sum(map(len, ATTRIBUTES.values())) + len(COLUMNS) + len(ROWS)
        self.clause = nn.Sequential(
            nn.Linear(vocabulary, 128), nn.GELU(), nn.Linear(128, _JOINT_WIDTH)
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def told(self, tokens: Tensor) -> dict[str, Tensor]:
        """What tokens ``[B, S, D]`` tell: by attribute, logits ``[B, S, 1 + values]``."""
        normalised = self.norm(tokens)
        return {name: head(normalised) for name, head in self.dense.items()}

    def contrast(self, summary: Tensor, clauses: Tensor, present: Tensor) -> Tensor:
        """CLIP's symmetric InfoNCE; ``clauses`` ``[B, solids, words]``, ``present`` a mask."""
        told = (self.clause(clauses) * present[..., None]).sum(1)
        image, text = F.normalize(self.image(summary), dim=-1), F.normalize(told, dim=-1)
        logits = self.log_scale.exp().clamp(max=100) * image @ text.T
        own = torch.arange(len(logits))
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def _pretrain(
    trained: _Tokenizer,
    processor: CLIPImageProcessorPil | ConvNextImageProcessorPil,
    pixels: NDArray[np.uint8],
    scenes: list[Scene],
    out: Path,
    recipe: TokenizerRecipe,
    seed: int,
) -> dict[str, float]:
    values = torch.cat(
        [processor(list(p), return_tensors="pt")["pixel_values"].half() for p in _blocks(pixels)]
    )
    heads = _Heads(*trained.widths)
    train, held_out = torch.arange(len(scenes)).split(
        [len(scenes) - int(HELD_OUT * len(scenes)), int(HELD_OUT * len(scenes))]
    )
    _train(trained, heads, values, _clauses(scenes), train, recipe, seed)
    scores = _score(trained, heads, values, held_out)
    copy.deepcopy(trained.model).to(torch.float16).save_pretrained(out)
    processor.save_pretrained(out)
    return scores


def _train(
    trained: _Tokenizer,
    heads: _Heads,
    values: Tensor,
    captions: tuple[Tensor, Tensor],
    train: Tensor,
    recipe: TokenizerRecipe,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    clauses, present = captions

    def loss() -> Tensor:
        chosen = train[torch.randint(len(train), (recipe.batch_size,), generator=generator)]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            tokens, summary = trained.tokens(values[chosen].float())
        dense = sum(
            F.cross_entropy(told.flatten(0, 1), trained.labels[name][chosen].flatten())
            for name, told in heads.told(tokens.float()).items()
        )
        contrast = heads.contrast(summary.float(), clauses[chosen], present[chosen])
        return contrast + recipe.dense_weight * dense

    trained.model.train()
    fit([*trained.model.parameters(), *heads.parameters()], recipe, loss)
    trained.model.eval()


def _blocks(pixels: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [pixels[start : start + 256] for start in range(0, len(pixels), 256)]


def _clauses(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """Words of each solid, one-hot ``[B, solids, words]``, and which are there ``[B, solids]``."""
    words = [*(v for values in ATTRIBUTES.values() for v in values), *COLUMNS, *ROWS]
    index = {word: i for i, word in enumerate(words)}
    most = max(len(scene.solids) for scene in scenes)
    clauses = torch.zeros(len(scenes), most, len(words))
    present = torch.zeros(len(scenes), most)
    for i, scene in enumerate(scenes):
        for j, solid in enumerate(scene.solids):
            clauses[i, j, [index[word] for word in solid.words]] = 1
            present[i, j] = 1
    return clauses, present


@torch.no_grad()
def _score(
    trained: _Tokenizer, heads: _Heads, values: Tensor, held_out: Tensor
) -> dict[str, float]:
    """Accuracy of each attribute in cells that hold a solid, and of telling ``occupied`` cells."""
    hits: dict[str, list[Tensor]] = {name: [] for name in (*ATTRIBUTES, "occupied")}
    for chosen in held_out.split(64):
        tokens, _ = trained.tokens(values[chosen].float())
        for name, logits in heads.told(tokens).items():
            told, truth = logits.argmax(-1), trained.labels[name][chosen]
            hits[name].append((told == truth)[truth > 0].float())
        hits["occupied"].append(((told > 0) == (truth > 0)).float().flatten())
    return {name: float(torch.cat(group).mean()) for name, group in hits.items()}
