"""GPUs that a process of Ray sees: those that it reserves."""

from __future__ import annotations

import os

import ray


def hide_unreserved_gpus() -> None:
    """Lets an actor that reserves no GPU see none; to be called before it uses CUDA.

    Ray itself sets ``CUDA_VISIBLE_DEVICES`` only of processes that reserve some: all others would
    take the first GPU of their node. Outside of actors, as in a notebook, nothing changes.
    """
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
