"""TaiChi: a vision-language model split over the air."""

from .system import Taichi

__all__ = ["Taichi"]
