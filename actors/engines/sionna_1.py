"""Sionna 1.x in a Ray actor with a Python environment of its own."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import ray
from ray import cloudpickle

from channel_models.sources import sionna_1
from channel_models.sources.delay_line import DelayLine
from channel_models.sources.sionna_1 import Arrays, ChannelService, Sionna1Channels

from .engine import EngineTimeoutError
from .retries import MAX_RETRIES

SIONNA_1 = "sionna-no-rt==1.2.2"

_TIMEOUT_S = 600.0
"""Timeout of every batch, the first start included."""


class RayChannelService(ChannelService):
    """The service behind airs with ``backend: tensorflow``: one actor.

    Its arrays come through the object store, each computed once.

    The first start installs Sionna 1.x with TensorFlow into an environment that Ray keeps, which
    takes about a minute.

    Args:
        line: Delay line that the actor simulates.
    """

    def __init__(self, line: DelayLine) -> None:
        self._refs: dict[tuple[int, int, float, int], Any] = {}
        # By value: that environment has Sionna 1.x, with which channel_models cannot be imported.
        cloudpickle.register_pickle_by_value(sionna_1)
        try:
            remote = ray.remote(Sionna1Channels).options(
                num_cpus=0,
                runtime_env={
                    "pip": [SIONNA_1],
                    "env_vars": {"CUDA_VISIBLE_DEVICES": ""},  # it reserves no GPU
                },
                max_restarts=MAX_RETRIES,  # it has no state of its own
                max_task_retries=MAX_RETRIES,
            )
            self._actor = remote.remote(*astuple(line))
        finally:
            cloudpickle.unregister_pickle_by_value(sionna_1)

    def ask(self, batch: int, steps: int, sampling_hz: float, seed: int) -> Any:
        order = (batch, steps, sampling_hz, seed)
        if order not in self._refs:
            self._refs[order] = self._actor.realise.remote(*order)
        return self._refs[order]

    def get(self, ref: Any) -> Arrays:
        try:
            arrays: Arrays = ray.get(ref, timeout=_TIMEOUT_S)
        except ray.exceptions.GetTimeoutError:
            raise EngineTimeoutError(
                f"Sionna 1.x gave no channels within {_TIMEOUT_S:g} s"
            ) from None
        except ray.exceptions.RayError as error:
            self._refs = {order: kept for order, kept in self._refs.items() if kept is not ref}
            if not isinstance(error, ray.exceptions.RuntimeEnvSetupError):
                raise
            cause = " ".join(str(error).split())[:300]
            raise ValueError(f"{SIONNA_1} could not be installed: {cause}") from None
        return arrays
