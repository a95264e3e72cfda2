"""Sizes of the named encoders, from the configurations of their checkpoints alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from ..weights import matrix_weights
from .base import EncoderShape, Grid, Stage


@cache
def ast_shape(checkpoint: str) -> EncoderShape:
    """Sizes of an AST: patches of a spectrogram behind CLS and distillation token."""
    config = _read(checkpoint, "audio", "audio-spectrogram-transformer")
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    patches = bands * ((config.max_length - config.patch_size) // config.time_stride + 1)
    return _transformer(config, patches, config.patch_size**2, 2, config.num_hidden_layers)


@cache
def vivit_shape(checkpoint: str) -> EncoderShape:
    """Sizes of a ViViT: tubelets of a clip behind a CLS token."""
    config = _read(checkpoint, "vision", "vivit")
    height, width = sides(config.image_size)
    steps, rows, columns = config.tubelet_size
    patches = (config.num_frames // steps) * (height // rows) * (width // columns)
    values = config.num_channels * steps * rows * columns
    return _transformer(config, patches, values, 1, config.num_hidden_layers)


@cache
def clip_shape(checkpoint: str, layer: int) -> EncoderShape:
    """Sizes of a CLIP-ViT up to one of its hidden states: patches behind a CLS token."""
    config = read_clip(checkpoint)
    (height, width), (rows, columns) = sides(config.image_size), sides(config.patch_size)
    grid = Grid(height // rows, width // columns, (Stage(config.hidden_size, 1),))
    layers, values = clip_layers(checkpoint, layer), config.num_channels * rows * columns
    return replace(_transformer(config, grid.rows * grid.columns, values, 1, layers), grid=grid)


def read_clip(checkpoint: str) -> Any:
    """The configuration of a CLIP's image tower, which may be a checkpoint of its own.

    Raises:
        ValueError: if there is no such checkpoint, or it is of another architecture.
    """
    config = _read(checkpoint, "clip", "clip", "clip_vision_model")
    return config.vision_config if config.model_type == "clip" else config


def clip_layers(checkpoint: str, layer: int) -> int:
    """Number of layers below hidden state ``layer``, which may be counted from the end.

    Raises:
        ValueError: if there is no such hidden state, or no layer below it.
    """
    depth = int(read_clip(checkpoint).num_hidden_layers)
    layers = layer if layer >= 0 else depth + 1 + layer
    if not 1 <= layers <= depth:
        raise ValueError(
            f"layer {layer} of clip {checkpoint!r}: it has 1 to {depth}, or -{depth} to -1"
        )
    return layers


def convnext_shape(
    config: Any, size: tuple[int, int], stages: tuple[int, ...] | None
) -> EncoderShape:
    """Sizes of a ConvNeXt on images of ``size`` (height, width).

    The weights of a stage act at every place of it, so they count as often as it has places. They
    are those of the patches of the stem, or of 2 x 2 places of the stage below, and in each block
    those of a 7 x 7 depthwise convolution and of two linear layers with a hidden width of four
    times the stage's.

    Raises:
        ValueError: for a stage that it does not have, or an image that its stride does not divide.
    """
    widths, depths = tuple(config.hidden_sizes), tuple(config.depths)
    kept = stages or tuple(range(1, len(widths) + 1))
    if not set(kept) <= set(range(1, len(widths) + 1)) or list(kept) != sorted(set(kept)):
        raise ValueError(
            f"stages {list(kept)} of convnext: take some of 1 to {len(widths)}, ascending"
        )
    last = kept[-1]
    stride = config.patch_size * 2 ** (last - 1)
    if size[0] % stride or size[1] % stride:
        raise ValueError(
            f"size_px {size[0]} x {size[1]} of convnext: take a multiple of its stride {stride}"
        )
    grid = Grid(
        size[0] // stride,
        size[1] // stride,
        tuple(Stage(widths[i - 1], 2 ** (last - i)) for i in kept),
    )
    macs = 0
    for i in range(last):
        places = size[0] * size[1] // (config.patch_size * 2**i) ** 2
        below = config.num_channels * config.patch_size**2 if i == 0 else 4 * widths[i - 1]
        block = 49 * widths[i] + 8 * widths[i] ** 2
        macs += places * (below * widths[i] + depths[i] * block)
    return EncoderShape(grid.rows * grid.columns, grid.width, 0, macs, grid)


@cache
def text_macs(checkpoint: str, layer: int) -> int:
    """Multiplications by a weight for a word, up to a hidden state of a language model, or BERT.

    Args:
        checkpoint: Name of the checkpoint.
        layer: Hidden state, which may be counted from the end.

    Raises:
        ValueError: if there is no such hidden state.
    """
    import torch
    from transformers import AutoModel

    from ..checkpoints.configs import read_config

    config = read_config(checkpoint, "language")
    depth = int(config.get_text_config().num_hidden_layers)
    below = layer if layer >= 0 else depth + 1 + layer
    if not 0 <= below <= depth:
        raise ValueError(f"layer {layer} of language model {checkpoint!r}: it has 0 to {depth}")
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    stacks = (module for module in model.modules() if isinstance(module, torch.nn.ModuleList))
    layers = next(module for module in stacks if len(module) == depth)
    return matrix_weights(p for module in list(layers)[:below] for p in module.parameters())


def sides(size: Any) -> tuple[int, int]:
    """Height and width, from a configuration that may give one number for both."""
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _read(checkpoint: str, kind: str, *expected: str) -> Any:
    from ..checkpoints.configs import read_config

    config = read_config(checkpoint, kind)
    if config.model_type not in expected:
        raise ValueError(
            f"{kind} encoder {checkpoint!r} is a {config.model_type}, not a {expected[0]}"
        )
    return config


def _transformer(
    config: Any, patches: int, values: int, summary_tokens: int, layers: int
) -> EncoderShape:
    """Sizes of a transformer, in whose layers every weight is applied to every token.

    Before the layers, the ``values`` of every patch are mapped to a token.
    """
    length, width = patches + summary_tokens, config.hidden_size
    layer = 4 * width**2 + 2 * width * config.intermediate_size
    macs = patches * values * width + layers * layer * length
    return EncoderShape(length, width, summary_tokens, macs)
