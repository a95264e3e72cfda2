"""Encoder configs by name: AST for sound, ViViT for clips, CLIP and ConvNeXt for images."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from ..checkpoints import POCKET, POCKET_IMAGES, NamedCheckpoint
from ..config import named
from ..datasets.images import ImageCrop
from ..datasets.layout import FrameChoice
from .base import EncoderConfig, EncoderShape, Grid, MediaEncoder, Stage
from .sizes import ast_shape, clip_shape, convnext_shape, vivit_shape

AudioSpan = Literal["first", "whole"]
Crop = Literal["none", "center"]


class Ast(EncoderConfig):
    """An audio spectrogram transformer, see :class:`.audio.AudioEncoder`."""

    ATTENDS: ClassVar[bool] = True

    name: Literal["ast"] = "ast"
    checkpoint: str = POCKET
    span: AudioSpan = "first"

    def shape(self) -> EncoderShape:
        return ast_shape(self.checkpoint)

    @property
    def pretrained(self) -> NamedCheckpoint:
        return NamedCheckpoint("audio", self.checkpoint)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .audio import AudioEncoder

        return AudioEncoder(self.checkpoint, device, self.span)


class Vivit(EncoderConfig):
    """A video vision transformer, see :class:`.vision.VisionEncoder`."""

    ATTENDS: ClassVar[bool] = True

    name: Literal["vivit"] = "vivit"
    checkpoint: str = POCKET
    frames: FrameChoice = "even"
    crop: Crop = "none"

    def shape(self) -> EncoderShape:
        return vivit_shape(self.checkpoint)

    @property
    def pretrained(self) -> NamedCheckpoint:
        return NamedCheckpoint("vision", self.checkpoint)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .vision import VisionEncoder

        return VisionEncoder(self.checkpoint, device, self.crop, self.frames)


class Clip(EncoderConfig):
    """TaiChi's tokenizer of the low-resolution image, see :class:`.clip.ClipEncoder`.

    Attributes:
        checkpoint: A CLIP with a ViT, such as ``openai/clip-vit-large-patch14-336``.
        layer: Hidden state that is taken; LLaVA, Mini-Gemini and MobileVLM take the last but one.
        crop: How an image becomes a square, see :func:`~tokcom_core.datasets.images.read_image`.
    """

    ATTENDS: ClassVar[bool] = True

    name: Literal["clip"] = "clip"
    checkpoint: str = POCKET_IMAGES
    layer: int = -2
    crop: ImageCrop = "none"

    def shape(self) -> EncoderShape:
        return clip_shape(self.checkpoint, self.layer)

    @property
    def pretrained(self) -> NamedCheckpoint:
        return NamedCheckpoint("clip", self.checkpoint)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .clip import ClipEncoder

        return ClipEncoder(self.checkpoint, device, self.layer, self.crop)


class Convnext(EncoderConfig):
    """TaiChi's tokenizer of the high-resolution image, see :class:`.convnext.ConvnextEncoder`.

    Attributes:
        checkpoint: A ConvNeXt of transformers, or of timm or open_clip, such as
            ``timm/convnext_large_mlp.clip_laion2b_ft_320``.
        size_px: Side of the image, a multiple of the stride (32); None takes the checkpoint's own.
            Mini-Gemini takes 768 beside a CLIP of 336.
        stages: Stages whose features are kept, from 1; all of them by default.
        crop: How an image becomes a square, the same as CLIP's: their grids must correspond.
    """

    name: Literal["convnext"] = "convnext"
    checkpoint: str = POCKET_IMAGES
    size_px: int | None = Field(default=None, ge=1)
    stages: tuple[int, ...] | None = Field(default=None, min_length=1)
    crop: ImageCrop = "none"

    def shape(self) -> EncoderShape:
        return _convnext_shape(self.checkpoint, self.size_px, self.stages)

    @property
    def pretrained(self) -> NamedCheckpoint:
        return NamedCheckpoint("convnext", self.checkpoint)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .convnext import ConvnextEncoder

        return ConvnextEncoder(self.checkpoint, device, self.size_px, self.stages, self.crop)


class Pixels(EncoderConfig):
    """Raw patches of an image, see :class:`.pixels.PixelEncoder`; there is nothing pretrained.

    Attributes:
        size_px: Side that the image is resized to.
        patch_px: Side of a patch.
    """

    name: Literal["pixels"] = "pixels"
    size_px: int = Field(default=96, ge=1)
    patch_px: int = Field(default=16, ge=1)

    @model_validator(mode="after")
    def _whole_patches(self) -> Pixels:
        if self.size_px % self.patch_px:
            raise ValueError(
                f"size_px {self.size_px} does not divide into patches of patch_px {self.patch_px}"
            )
        return self

    def shape(self) -> EncoderShape:
        side = self.size_px // self.patch_px
        width = 3 * self.patch_px**2
        grid = Grid(side, side, (Stage(width, 1),))
        return EncoderShape(side**2, width, summary_tokens=0, macs=0, grid=grid)

    def build(self, device: str = "auto") -> MediaEncoder:
        from .pixels import PixelEncoder

        return PixelEncoder(self.size_px, self.patch_px)


ENCODERS: dict[str, type[EncoderConfig]] = {
    "ast": Ast,
    "vivit": Vivit,
    "clip": Clip,
    "convnext": Convnext,
    "pixels": Pixels,
}

NamedEncoder = named(EncoderConfig, lambda: ENCODERS)


@cache
def _convnext_shape(
    checkpoint: str, size_px: int | None, stages: tuple[int, ...] | None
) -> EncoderShape:
    from .timm import image_size, read_convnext

    config = read_convnext(checkpoint)
    return convnext_shape(config, image_size(config, size_px), stages)


@cache
def token_width(checkpoint: str) -> int:
    """Features of a token of a foundation model, d_T."""
    from ..checkpoints.configs import read_config

    return int(read_config(checkpoint, "language").get_text_config().hidden_size)
