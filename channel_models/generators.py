"""Protects torch's process-wide generators from code that seeds them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def kept_generators() -> Iterator[None]:
    """Restores the state of torch's generators, of the CPU and of the current GPU, on leaving.

    Those of other GPUs are not touched: reading them would make torch begin to use these GPUs.
    """
    gpu = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(gpu):
        yield
