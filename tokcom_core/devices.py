"""Where tensors live, and in which precision frozen models compute."""

from __future__ import annotations

import torch


def pick_device(device: str) -> torch.device:
    """``auto`` is a GPU where there is one; anything else is torch's own name."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"no device {device!r}; take auto, cpu, cuda or cuda:N") from None


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the GPU computes in it, else float32, which is faster than to emulate it."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32
