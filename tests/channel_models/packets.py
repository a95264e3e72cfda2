"""Frames that travel in packets, and airs that carry them."""

from __future__ import annotations

from dataclasses import replace

import torch

from channel_models import Air, DigitalConfig, Frame, named_air
from channel_models.testing import LINK, frame

TEXT_BITS = 320.0
"""Forty letters."""


def digital_air(name: str, snr_db: float, **digital: object) -> Air:
    """A link of packets with these keys."""
    return named_air(name, digital=DigitalConfig(**digital)).build(LINK, snr_db)


def token_frame(batch: int = 4, seed: int = 0, requires_grad: bool = False) -> Frame:
    """Up to four tokens of 16 symbols for each sample."""
    sent = frame("a", batch, 64, seed, requires_grad=requires_grad, transport="digital")
    return replace(sent, block=16)


def file_frame(sizes: torch.Tensor, sender: str = "a") -> Frame:
    """Files of so many bits ``[B]``."""
    sent = frame(sender, batch=len(sizes), symbols=64)
    return replace(sent, block=16, transport="file", file_bits=sizes)
