"""Encoder configs by name: AST for sound, ViViT for clips, or a custom one."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from ..config import named
from ..datasets.layout import FrameChoice
from .base import EncoderConfig, EncoderShape, MediaEncoder

AudioSpan = Literal["first", "whole"]
Crop = Literal["none", "center"]


class Ast(EncoderConfig):
    """An audio spectrogram transformer, see :class:`.audio.AudioEncoder`."""

    name: Literal["ast"] = "ast"
    checkpoint: str = "pocket"
    span: AudioSpan = "first"

    def shape(self) -> EncoderShape:
        return _ast_shape(self.checkpoint)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .audio import AudioEncoder

        return AudioEncoder(self.checkpoint, device, self.span)


class Vivit(EncoderConfig):
    """A video vision transformer, see :class:`.vision.VisionEncoder`."""

    name: Literal["vivit"] = "vivit"
    checkpoint: str = "pocket"
    frames: FrameChoice = "even"
    crop: Crop = "none"

    def shape(self) -> EncoderShape:
        return _vivit_shape(self.checkpoint)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .vision import VisionEncoder

        return VisionEncoder(self.checkpoint, device, self.crop, self.frames)


ENCODERS: dict[str, type[EncoderConfig]] = {"ast": Ast, "vivit": Vivit}

NamedEncoder = named(EncoderConfig, lambda: ENCODERS)


@cache
def _ast_shape(checkpoint: str) -> EncoderShape:
    config = _read(checkpoint, "audio", "audio-spectrogram-transformer")
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    patches = bands * ((config.max_length - config.patch_size) // config.time_stride + 1)
    return _shape(config, patches, summary_tokens=2)


@cache
def _vivit_shape(checkpoint: str) -> EncoderShape:
    config = _read(checkpoint, "vision", "vivit")
    height, width = picture_size(config)
    steps, rows, columns = config.tubelet_size
    patches = (config.num_frames // steps) * (height // rows) * (width // columns)
    return _shape(config, patches, summary_tokens=1)


def _read(checkpoint: str, kind: str, expected: str) -> Any:
    from ..checkpoints.configs import read_config

    config = read_config(checkpoint, kind)
    if config.model_type != expected:
        raise ValueError(
            f"{kind} encoder {checkpoint!r} is a {config.model_type}, not a {expected}"
        )
    return config


def _shape(config: Any, patches: int, summary_tokens: int) -> EncoderShape:
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    return EncoderShape(
        length=patches + summary_tokens,
        width=config.hidden_size,
        summary_tokens=summary_tokens,
        parameters=config.num_hidden_layers * layer,
    )


def picture_size(config: Any) -> tuple[int, int]:
    """Height and width of the pictures that a ViViT reads."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


@cache
def token_width(checkpoint: str) -> int:
    """Features of a token of a foundation model, d_T."""
    from ..checkpoints.configs import read_config

    return int(read_config(checkpoint, "language").hidden_size)
