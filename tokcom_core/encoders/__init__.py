"""Frozen encoders E_m of eqs. (1) and (2)."""

from .base import ENCODER_BATCH, EncoderConfig, EncoderShape, Grid, MediaEncoder, Stage
from .named import ENCODERS, Ast, AudioSpan, Clip, Convnext, Crop, NamedEncoder, Pixels, Vivit

__all__ = [
    "ENCODERS",
    "ENCODER_BATCH",
    "Ast",
    "AudioSpan",
    "Clip",
    "Convnext",
    "Crop",
    "EncoderConfig",
    "EncoderShape",
    "Grid",
    "MediaEncoder",
    "NamedEncoder",
    "Pixels",
    "Stage",
    "Vivit",
]
