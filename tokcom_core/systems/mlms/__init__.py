"""Paper 1: Token Communication-Driven Multimodal Large Models in Multiuser Networks."""

from .system import Mlms

__all__ = ["Mlms"]
