"""Tensors through Ray's object store without copies.

Ray itself pickles a tensor with its bytes inside, which copies them several times. An array of
bytes is not copied. Its receiver maps the same memory, so received tensors must not be written to.
"""

from __future__ import annotations

import warnings
from typing import Any

import ray
import torch
from torch import Tensor


def register_tensor_serializer() -> None:
    """Makes this process send tensors without copies; every process of a network calls it once."""
    warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
    ray.util.register_serializer(Tensor, serializer=_as_bytes, deserializer=_from_bytes)


_Packed = tuple[Any, torch.dtype, torch.Size, torch.Size]


def _as_bytes(tensor: Tensor) -> _Packed:
    """Packs a tensor as bytes; values that are repeated along an axis (``expand``) go once."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    once = plain
    for axis, stride in enumerate(plain.stride()):
        if stride == 0 and plain.shape[axis] > 1:
            once = once.narrow(axis, 0, 1)
    # A single element of stride 0 counts as contiguous, but cannot be viewed as bytes.
    once = once.contiguous() if once is plain else once.clone(memory_format=torch.contiguous_format)
    return once.reshape(-1).view(torch.uint8).numpy(), once.dtype, once.shape, plain.shape


def _from_bytes(packed: _Packed) -> Tensor:
    data, dtype, once, shape = packed
    if not data.size:  # nothing to view as another type
        return torch.empty(shape, dtype=dtype)
    return torch.from_numpy(data).view(dtype).reshape(once).expand(shape)
