"""Lets a process of Ray see only the GPUs that it reserves."""

from __future__ import annotations

import os

import ray


def hide_unreserved_gpus() -> None:
    """Hides all GPUs from an actor that reserves none; to be called before the actor uses CUDA.

    Ray itself sets ``CUDA_VISIBLE_DEVICES`` only in processes that reserve GPUs; all others would
    use the first GPU of their node. Outside of actors, as in a notebook, nothing changes.
    """
    if not ray.is_initialized() or ray.get_runtime_context().get_actor_id() is None:
        return
    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
