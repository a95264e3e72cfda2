"""Where tensors live, and in which precision frozen models compute."""

from __future__ import annotations

import torch

_OUT_OF_MEMORY = 2
"""CUDA's error code for memory that has run out.

An error has it where the driver, rather than torch's allocator, runs out of memory.
"""


def pick_device(device: str) -> torch.device:
    """The device of a name: ``auto`` is a GPU if there is one; any other name is torch's own."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"no device {device!r}; take auto, cpu, cuda or cuda:N") from None


def gpu_is_lost(error: BaseException) -> bool:
    """Whether an error has cost the process its GPU, since CUDA repeats it at every later call.

    Running out of memory is not such an error.
    """
    out_of_memory = getattr(error, "error_code", None) == _OUT_OF_MEMORY
    return isinstance(error, torch.AcceleratorError) and not out_of_memory


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 if the GPU computes in it natively, else float32: emulation would be slower."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def hardware_of(device: torch.device) -> dict[str, str]:
    """Name of a device and precision of frozen models on it; numerical results depend on both."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"device": name, "dtype": str(pick_dtype(device)).removeprefix("torch.")}
