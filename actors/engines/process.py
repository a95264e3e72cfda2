"""Processes that host one device or base station after another."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tokcom_core.devices import gpu_is_lost
from tokcom_core.errors import first_line

from .gpus import hide_unreserved_gpus
from .serialization import register_tensor_serializer

logger = logging.getLogger(__name__)

DEATHS = (
    ray.exceptions.RayActorError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.ObjectLostError,
)
"""Ray's errors if a process or an object that it made is lost; Ray's memory monitor kills, too."""

_VACATE_TIMEOUT_S = 10.0
"""Time that a process has to release its peer before another one is started."""


@dataclass(frozen=True)
class Share:
    """CPUs and GPUs that a process reserves on its node; may be fractions."""

    cpu: float = 0.0
    gpu: float = 0.0


class GpuLostError(RuntimeError):
    """A process has lost its GPU."""


class PeerProcess:
    """The Ray actor, reused because starting it (imports) takes far longer than making a peer.

    Args:
        threads: Number of torch threads.
        prepare: Called before any peer is made, for example to fetch files.
    """

    def __init__(self, threads: int, prepare: Callable[[], None] | None) -> None:
        hide_unreserved_gpus()
        torch.set_num_threads(threads)
        register_tensor_serializer()
        if prepare is not None:
            prepare()
        self._peer: Any = None
        self._lacks_gpu = False

    def create(self, cls: type, *arguments: Any) -> None:
        """Makes the peer that the process hosts from now on."""
        with self._noticing_lost_gpu():
            self._peer = cls(*arguments)

    def call(self, created: None, method: str, *arguments: Any) -> Any:
        """Calls the peer; ``created`` is what :meth:`create` returned."""
        with self._noticing_lost_gpu():
            return getattr(self._peer, method)(*arguments)

    def check(self) -> None:
        """Ends the process if it has lost its GPU; a restarted process has the GPU again."""
        if self._lacks_gpu:
            os._exit(1)

    def vacate(self) -> None:
        """Releases the peer, with its frames and its memory on a GPU."""
        self.check()
        self._peer = None
        gc.collect()
        gc.freeze()  # what is left are modules; later collections skip them (0.2 s each)
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    @contextmanager
    def _noticing_lost_gpu(self) -> Iterator[None]:
        """Raises GpuLostError if a block loses the GPU; the next :meth:`check` ends the process."""
        try:
            yield
        except Exception as error:
            if gpu_is_lost(error):
                logger.exception("the GPU is lost")
                self._lacks_gpu = True
                raise GpuLostError(f"the GPU is lost: {first_line(error)}") from error
            raise


class Process:
    """Handle of a process; Ray shows it under the name of the class that it hosts.

    Args:
        name: Name of the hosted class.
        threads: Number of torch threads.
        prepare: See :class:`PeerProcess`.
        share: Resources that it reserves on its node.
        bundle: Bundle of a placement group; None lets Ray choose the node.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        prepare: Callable[[], None] | None,
        share: Share,
        bundle: PlacementGroupSchedulingStrategy | None,
    ) -> None:
        self._name = name
        self._arguments = (threads, prepare)
        self._share = share
        self._bundle = bundle
        self.start()

    def start(self) -> None:
        """Starts the actor, or replaces a dead one."""
        actor = ray.remote(type(self._name, (PeerProcess,), {}))
        options = actor.options(
            num_cpus=self._share.cpu if self._bundle else 0,
            num_gpus=self._share.gpu,
            scheduling_strategy=self._bundle,
        )
        self.actor = options.remote(*self._arguments)
        self.waits_for_group = self._bundle is not None

    def leave_group(self) -> None:
        """Lets Ray choose the node from the next start on."""
        self._bundle = None

    def hosts(self, cls: type, share: Share) -> bool:
        """Whether the process can host a peer of this class with these resources."""
        return self._name == cls.__name__ and self._share == share

    def vacate(self) -> None:
        """Begins to release the hosted peer; see :meth:`is_vacant`."""
        self._vacated = self.actor.vacate.remote()

    def is_vacant(self) -> bool:
        """Whether the process is alive and has released its peer; kills it if not."""
        done, _ = ray.wait([self._vacated], timeout=_VACATE_TIMEOUT_S)
        try:
            if ray.get(done):
                return True
        except ray.exceptions.RayError:  # it has died, or its GPU is lost
            pass
        ray.kill(self.actor)
        return False
