"""Pretrains the pocket encoders: AST and ViViT at toy size, on clips read back from ``.mp4``.

They learn densely: every token is to tell what is at its place or time, and the summary tokens are
to tell the tags of the whole clip. Without the dense row and column heads, the place never becomes
readable as a word after the alignment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTModel,
    PreTrainedModel,
    VivitConfig,
    VivitImageProcessor,
    VivitModel,
)

from ...datasets import layout, media
from ...datasets.minimusic import render
from ...datasets.minimusic.labels import (
    MEL_BINS,
    PATCH,
    SPECTROGRAM_FRAMES,
    Labels,
    audio_labels,
    vision_labels,
)
from ...datasets.minimusic.write import ClipPlan
from ..training import Recipe, fit

WIDTH, LAYERS, HEADS = 96, 3, 4
HELD_OUT = 0.1


@dataclass(frozen=True)
class EncoderRecipe:
    """How a pocket encoder is made."""

    epochs: int = 12
    batch_size: int = 64
    learning_rate: float = 2e-3


def pretrain_vision(
    root: Path, plans: list[ClipPlan], out: Path, recipe: EncoderRecipe, seed: int = 0
) -> dict[str, float]:
    """Trains ViViT on the frames of ``plans`` and saves it to ``out``.

    Returns:
        Held-out accuracies.
    """
    processor = VivitImageProcessor(
        do_resize=False,
        do_center_crop=False,
        size={"shortest_edge": render.FRAME_PIXELS},
        crop_size={"height": render.FRAME_PIXELS, "width": render.FRAME_PIXELS},
    )
    pixels = torch.cat(
        [
            processor(list(media.read_frames(folder, render.FRAMES)), return_tensors="pt")[
                "pixel_values"
            ].half()
            for folder in (layout.frames_folder(root / p.dataset, p.video_id) for p in plans)
        ]
    )
    torch.manual_seed(seed)
    model = VivitModel(
        VivitConfig(
            image_size=render.FRAME_PIXELS,
            num_frames=render.FRAMES,
            tubelet_size=[render.FRAMES_PER_INSTANT, render.TILE_PIXELS, render.TILE_PIXELS],
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=2 * WIDTH,
        ),
        add_pooling_layer=False,
    )
    labels = vision_labels([p.scene for p in plans])
    scores = _train(model, 1, lambda index: pixels[index].float(), labels, recipe, seed)
    _save(model, out)
    processor.save_pretrained(out)
    return scores


def pretrain_audio(
    root: Path, plans: list[ClipPlan], out: Path, recipe: EncoderRecipe, seed: int = 0
) -> dict[str, float]:
    """Trains AST on the sound of ``plans`` and saves it to ``out``.

    Returns:
        Held-out accuracies.
    """
    processor = ASTFeatureExtractor(
        num_mel_bins=MEL_BINS, max_length=SPECTROGRAM_FRAMES, do_normalize=False
    )
    spectra = torch.cat(
        [
            processor(
                media.read_sound(layout.sound_file(root / p.dataset, p.video_id)),
                sampling_rate=layout.SAMPLE_RATE_HZ,
                return_tensors="pt",
            )["input_values"]
            for p in plans
        ]
    )
    mean, std = float(spectra.mean()), float(spectra.std())
    processor = ASTFeatureExtractor(
        num_mel_bins=MEL_BINS, max_length=SPECTROGRAM_FRAMES, mean=mean, std=std
    )
    spectra = (spectra - mean) / (2 * std)  # the extractor's own normalisation
    torch.manual_seed(seed)
    model = ASTModel(
        ASTConfig(
            num_mel_bins=MEL_BINS,
            max_length=SPECTROGRAM_FRAMES,
            patch_size=PATCH,
            frequency_stride=PATCH,
            time_stride=PATCH,
            hidden_size=WIDTH,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            intermediate_size=2 * WIDTH,
        )
    )
    labels = audio_labels([p.scene for p in plans])
    scores = _train(model, 2, lambda index: spectra[index], labels, recipe, seed)
    _save(model, out)
    processor.save_pretrained(out)
    return scores


class _Heads(nn.Module):
    """Linear read-outs: dense ones on the patches, tags on the summary tokens' mean."""

    def __init__(self, labels: Labels, summary_tokens: int) -> None:
        super().__init__()
        self._summary_tokens = summary_tokens
        self.dense = nn.ModuleDict(
            {name: nn.Linear(WIDTH, int(label.max()) + 1) for name, label in labels.dense.items()}
        )
        self.tags = nn.Linear(WIDTH, labels.tags.shape[1])

    def forward(self, hidden: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        summary = hidden[:, : self._summary_tokens].mean(1)
        patches = hidden[:, self._summary_tokens :]
        return {name: head(patches) for name, head in self.dense.items()}, self.tags(summary)


def _train(
    model: PreTrainedModel,
    summary_tokens: int,
    values: Callable[[Tensor], Tensor],
    labels: Labels,
    recipe: EncoderRecipe,
    seed: int,
) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    heads = _Heads(labels, summary_tokens)
    count = len(labels.tags)
    train, held_out = torch.arange(count).split(
        [count - int(HELD_OUT * count), int(HELD_OUT * count)]
    )

    def loss() -> Tensor:
        chosen = train[torch.randint(len(train), (recipe.batch_size,), generator=generator)]
        batch = labels.rows(chosen)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(values(chosen)).last_hidden_state
        dense, tags = heads(hidden.float())
        return F.binary_cross_entropy_with_logits(tags, batch.tags) + sum(
            F.cross_entropy(logits.flatten(0, 1), batch.dense[name].flatten())
            for name, logits in dense.items()
        )

    model.train()
    steps = recipe.epochs * (len(train) // recipe.batch_size)
    training = Recipe(steps, recipe.batch_size, recipe.learning_rate)
    fit([*model.parameters(), *heads.parameters()], training, loss)
    return _score(model.eval(), heads, values, labels, held_out)


@torch.no_grad()
def _score(
    model: PreTrainedModel,
    heads: _Heads,
    values: Callable[[Tensor], Tensor],
    labels: Labels,
    held_out: Tensor,
) -> dict[str, float]:
    """Accuracy of each attribute where something is there, and of the tags."""
    hits: dict[str, list[Tensor]] = {name: [] for name in (*labels.dense, "tags")}
    for chosen in held_out.split(64):
        own = labels.rows(chosen)
        dense, tags = heads(model(values(chosen)).last_hidden_state)
        for name, logits in dense.items():
            hit = logits.argmax(-1) == own.dense[name]
            hits[name].append(hit[own.dense[name] > 0].float())
        hits["tags"].append(((tags > 0) == (own.tags > 0.5)).float().flatten())
    return {name: float(torch.cat(group).mean()) for name, group in hits.items()}


def _save(model: PreTrainedModel, out: Path) -> None:
    model.to(torch.float16).save_pretrained(out)
