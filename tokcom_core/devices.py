"""Where tensors live, and in which precision frozen models compute."""

from __future__ import annotations

import torch

_OUT_OF_MEMORY = 2
"""CUDA's code of it, where the driver rather than torch's allocator tells."""


def pick_device(device: str) -> torch.device:
    """``auto`` is a GPU where there is one; anything else is torch's own name."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"no device {device!r}; take auto, cpu, cuda or cuda:N") from None


def gpu_is_lost(error: BaseException) -> bool:
    """Whether an error has cost the process its GPU: CUDA repeats it at every later call.

    Memory that has run out is no such error.
    """
    out_of_memory = getattr(error, "error_code", None) == _OUT_OF_MEMORY
    return isinstance(error, torch.AcceleratorError) and not out_of_memory


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the GPU computes in it, else float32, which is faster than to emulate it."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def hardware_of(device: torch.device) -> dict[str, str]:
    """Name of a device, and the precision of frozen models on it: numbers depend on both."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "dtype": str(pick_dtype(device)).removeprefix("torch.")}
