"""DeepSC and its descendants for images and text: systems that TaiChi is compared with."""

from .text import Deepsc
from .unified import Udeepsc
from .vqa import DeepscVqa

__all__ = ["Deepsc", "DeepscVqa", "Udeepsc"]
