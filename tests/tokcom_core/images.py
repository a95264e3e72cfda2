"""Image files and checkpoints of encoders of images, tiny, for tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessorPil,
)

_SEED = 3
_SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2}


def write_image(file: Path, height: int = 60, width: int = 80) -> Path:
    """Smooth colors with noise, so that resizing is felt."""
    rng = np.random.default_rng(height * width)
    ramp = np.linspace(0, 200, width)[None, :, None] * np.array([1.0, 0.5, 0.2])
    pixels = ramp + rng.uniform(0, 55, (height, width, 3))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(file)
    return file


def write_clip(folder: Path, image_px: int = 48, patch_px: int = 8, **vision: int) -> Path:
    """A whole CLIP, as it is published: both towers, and the processor of images."""
    sizes = {**_SMALL, "num_hidden_layers": 3, **vision}
    text = CLIPTextConfig(**_SMALL, num_hidden_layers=1, vocab_size=99)
    tower = CLIPVisionConfig(**sizes, image_size=image_px, patch_size=patch_px)
    torch.manual_seed(_SEED)
    CLIPModel(CLIPConfig(text_config=text, vision_config=tower)).save_pretrained(folder)
    CLIPImageProcessorPil(
        size={"shortest_edge": image_px}, crop_size={"height": image_px, "width": image_px}
    ).save_pretrained(folder)
    return folder


def write_clip_tower(folder: Path) -> Path:
    """The image tower alone."""
    torch.manual_seed(_SEED)
    tower = CLIPVisionConfig(**_SMALL, num_hidden_layers=3, image_size=48, patch_size=8)
    CLIPVisionModel(tower).save_pretrained(folder)
    CLIPImageProcessorPil().save_pretrained(folder)
    return folder


def write_convnext(
    folder: Path, widths: tuple[int, ...] = (8, 16), depths: tuple[int, ...] = (1, 2), px: int = 96
) -> Path:
    """A ConvNeXt classifier of transformers; layer scales that let every block be felt."""
    config = ConvNextConfig(
        num_stages=len(widths),
        hidden_sizes=list(widths),
        depths=list(depths),
        image_size=px,
        layer_scale_init_value=0.5,
        num_labels=7,
    )
    torch.manual_seed(_SEED)
    ConvNextForImageClassification(config).save_pretrained(folder)
    ConvNextImageProcessorPil(size={"shortest_edge": px}).save_pretrained(folder)
    return folder


_TIMM = (
    (r"^convnext\.", ""),
    (r"^embeddings\.patch_embeddings\.", "stem.0."),
    (r"^embeddings\.layernorm\.", "stem.1."),
    (r"^encoder\.", ""),
    (r"downsampling_layer", "downsample"),
    (r"layers\.(\d+)\.dwconv", r"blocks.\1.conv_dw"),
    (r"layers\.(\d+)\.layernorm", r"blocks.\1.norm"),
    (r"layers\.(\d+)\.pwconv(\d)", r"blocks.\1.mlp.fc\2"),
    (r"layers\.(\d+)\.layer_scale_parameter", r"blocks.\1.gamma"),
    (r"^layernorm\.", "head.norm."),
    (r"^classifier\.", "head.fc."),
)


def write_timm_convnext(folder: Path, source: Path, prefix: str = "", **config: object) -> Path:
    """The weights of a ConvNeXt of transformers, as timm or open_clip (by its prefix) has them."""
    weights = load_file(source / "model.safetensors")
    renamed = {}
    for key, weight in weights.items():
        for pattern, name in _TIMM:
            key = re.sub(pattern, name, key)
        renamed[prefix + key] = weight
    if prefix:
        renamed["text.token_embedding.weight"] = torch.zeros(2, 2)
    folder.mkdir(parents=True)
    save_file(renamed, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    return folder
