"""Frozen encoders E_m of eqs. (1) and (2)."""

from .base import ENCODER_BATCH, EncoderConfig, EncoderShape, MediaEncoder
from .named import ENCODERS, Ast, AudioSpan, Crop, NamedEncoder, Vivit

__all__ = [
    "ENCODERS",
    "ENCODER_BATCH",
    "Ast",
    "AudioSpan",
    "Crop",
    "EncoderConfig",
    "EncoderShape",
    "MediaEncoder",
    "NamedEncoder",
    "Vivit",
]
