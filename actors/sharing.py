"""Tensors through Ray's object store without copies.

Ray itself pickles a tensor with its bytes inside, which copies them several times; as an array of
bytes it stays where it is, and whoever receives it maps the same memory. What is received must
therefore not be written to.
"""

from __future__ import annotations

import warnings
from typing import Any

import ray
import torch
from torch import Tensor


def share_tensors() -> None:
    """Makes this process send tensors as views; every process of a network calls it once."""
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    ray.util.register_serializer(Tensor, serializer=_as_bytes, deserializer=_from_bytes)


def _as_bytes(tensor: Tensor) -> tuple[Any, torch.dtype, torch.Size]:
    plain = tensor.detach().cpu().resolve_conj().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy(), plain.dtype, plain.shape


def _from_bytes(packed: tuple[Any, torch.dtype, torch.Size]) -> Tensor:
    data, dtype, shape = packed
    return torch.from_numpy(data).view(dtype).reshape(shape)
