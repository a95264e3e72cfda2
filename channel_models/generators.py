"""Torch's process-wide generators, kept in bounds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept_generators() -> Iterator[None]:
    """Leaves torch's generators, of the CPU and of the GPU in use, as they were.

    Those of other GPUs are not asked: torch would begin to use each of them.
    """
    gpu = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(gpu):
        yield
