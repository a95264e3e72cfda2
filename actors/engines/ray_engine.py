"""The engine with one Ray actor for each device process and the base station."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import ray
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from .engine import ActorSpec, Engine, EngineTimeoutError, Peer, PeerLostError, Role
from .process import DEATHS, GpuLostError, Process, Share
from .retries import retrying
from .serialization import register_tensor_serializer

logger = logging.getLogger(__name__)

PlacementStrategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
"""Ray's strategies of placement groups."""

_PLACEMENT_TIMEOUT_S = 10.0
"""Time that a placement group has to find room before its processes start without it."""

_LOADING_TIMEOUT_S = 6 * 3600.0
"""Time that a process has to fetch files, and to make its peer: a checkpoint of many billion
weights may have to be downloaded first."""

_CHUNK_MB = 16.0

_ROUNDING = 1e-9


class _RayPeer(Peer):
    """A peer in a process that may have hosted other peers before."""

    def __init__(self, spec: ActorSpec, process: Process) -> None:
        self._spec = spec
        self.process = process
        self.create()

    @property
    def actor(self) -> Any:
        return self.process.actor

    def create(self) -> None:
        """Makes the peer in its process, or again in a new process after that has died."""
        self.is_made = False
        self.started = self.actor.__ray_ready__.remote()
        self.created = self.actor.create.remote(self._spec.cls, *self._spec.arguments)

    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        # If the peer could not be made, calls fail with the reason for that.
        options = {"num_returns": returns, "name": f"{self._spec.cls.__name__}.{method}"}
        ref = self.actor.call.options(**options).remote(self.created, method, *arguments)
        return list(ref) if returns > 1 else [ref]


class RayEngine(Engine):
    """One Ray actor for each peer; frames and gradients move through the object store.

    Without ``placement``, actors reserve no CPU: they work one after the other, on the CPU of their
    maker, and inside a Ray Tune trial they live in its placement group. These processes outlive a
    network and host the peers of the next one, until the engine is closed.

    Args:
        deadline_s: Timeout of every wait, except that for a peer to be made, which may load a large
            model.
        threads: Torch threads of each actor; results can depend on it in the last bit.
        shares: Resources that a process of each role reserves; none by default.
        placement: Strategy of a placement group for a network's processes; None makes no group.
        prepare: Called in every process before its peer is made, for example to fetch files.
    """

    def __init__(
        self,
        deadline_s: float = 600.0,
        threads: int = 1,
        shares: dict[Role, Share] | None = None,
        placement: PlacementStrategy | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        register_tensor_serializer()
        self._prepare = prepare
        self._deadline_s = deadline_s
        self._threads = threads
        self._shares = shares or {}
        self._placement = placement
        self._group: PlacementGroup | None = None
        self._peers: list[_RayPeer] = []
        self._vacant: list[Process] = []
        self._ballast: list[Any] = []

    @property
    def processes(self) -> int:
        station, pool = self._share("station"), self._share("devices")
        total = ray.cluster_resources()
        cpus = float(total.get("CPU", 1.0)) - station.cpu
        room = math.floor(cpus / (pool.cpu or 1.0) + _ROUNDING)
        if pool.gpu:
            room = min(room, _beside(station.gpu, pool.gpu, int(total.get("GPU", 0.0))))
        return max(1, room)

    def spawn(self, specs: Sequence[ActorSpec]) -> list[Peer]:
        shares = _within([self._share(spec.role) for spec in specs])
        if self._placement is not None:
            self._group = self._reserve(shares)
        bundle = 0
        made = []
        for spec, share in zip(specs, shares, strict=True):
            where = None
            if self._group is not None:
                # A process that reserves nothing has no bundle of its own: any bundle will do.
                index = -1 if share == Share() else bundle
                bundle += index >= 0
                where = PlacementGroupSchedulingStrategy(self._group, index)
            made.append(_RayPeer(spec, self._process(spec.cls, share, where)))
        self._peers += made
        return list(made)

    def _process(
        self, cls: type, share: Share, bundle: PlacementGroupSchedulingStrategy | None
    ) -> Process:
        """A vacant process with the right class and resources, or a new one."""
        suitable = [p for p in self._vacant if bundle is None and p.hosts(cls, share)]
        for process in suitable:
            self._vacant.remove(process)
            if process.is_vacant():
                return process
        return Process(cls.__name__, self._threads, self._prepare, share, bundle)

    def get(self, refs: Sequence[Any]) -> list[Any]:
        for peer in self._peers:
            if not peer.is_made:
                self._await_made(peer)
        return self._fetch(refs)

    def _fetch(self, refs: Sequence[Any]) -> list[Any]:
        try:
            values: list[Any] = ray.get(list(refs), timeout=self._deadline_s)
        except ray.exceptions.GetTimeoutError:
            raise EngineTimeoutError(f"no answer within {self._deadline_s:g} s") from None
        except DEATHS as error:
            raise _lost(error) from None
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, GpuLostError):
                raise PeerLostError(str(error.cause)) from None
            raise
        return values

    def kill(self, peer: Peer) -> None:
        assert isinstance(peer, _RayPeer)
        ray.kill(peer.actor)

    def fill_object_store(self, megabytes: float) -> None:
        self._ballast.clear()
        whole, rest = divmod(megabytes, _CHUNK_MB)
        for size in [*[_CHUNK_MB] * int(whole), rest]:
            self._ballast.append(ray.put(np.ones(int(size * 1e6), dtype=np.uint8)))

    def restart_dead(self) -> list[Peer]:
        restarted: list[Peer] = []
        for peer in self._peers:
            try:
                self._await(peer)
            except PeerLostError:
                retrying(partial(self._restart, peer), "the start of a process")
                restarted.append(peer)
        return restarted

    def _restart(self, peer: _RayPeer) -> None:
        peer.process.start()
        peer.create()
        self._await(peer)

    def release(self) -> None:
        processes = [peer.process for peer in self._peers]
        self._peers.clear()
        self._ballast.clear()
        if self._group is None:
            for process in processes:
                process.vacate()
            self._vacant += processes
            return
        for process in processes:
            ray.kill(process.actor)
        remove_placement_group(self._group)
        self._group = None

    def close(self) -> None:
        self.release()
        for process in self._vacant:
            ray.kill(process.actor)
        self._vacant.clear()

    def _share(self, role: Role) -> Share:
        return self._shares.get(role, Share())

    def _reserve(self, shares: Sequence[Share]) -> PlacementGroup | None:
        """A placement group for the shares; None if it finds no room."""
        bundles = [
            {name: value for name, value in (("CPU", s.cpu), ("GPU", s.gpu)) if value}
            for s in shares
            if s != Share()
        ]
        if not bundles:
            return None
        group = placement_group(bundles, strategy=self._placement)
        if group.wait(_PLACEMENT_TIMEOUT_S):
            return group
        remove_placement_group(group)
        logger.warning("no room for %d processes (%s) as a group", len(bundles), self._placement)
        return None

    def _await(self, peer: _RayPeer) -> None:
        """Waits for a process to be ready.

        Raises:
            PeerLostError: if it, its GPU, or its placement group, is lost.
            EngineTimeoutError: if it takes too long.
        """
        self._await_made(peer)
        self._fetch([peer.actor.check.remote()])

    def _await_made(self, peer: _RayPeer) -> None:
        """Waits until a process has made its peer, or failed to; the next call raises the reason.

        Raises:
            PeerLostError: if its placement group is lost.
            EngineTimeoutError: if it takes too long.
        """
        self._await_start(peer)
        done, _ = ray.wait([peer.created], timeout=_LOADING_TIMEOUT_S)
        if not done:
            raise EngineTimeoutError(f"nothing was loaded within {_LOADING_TIMEOUT_S:g} s")
        peer.is_made = True

    def _await_start(self, peer: _RayPeer) -> None:
        process = peer.process
        limit_s = self._deadline_s if self._prepare is None else _LOADING_TIMEOUT_S
        for _ in range(math.ceil(limit_s / _PLACEMENT_TIMEOUT_S)):
            done, _ = ray.wait([peer.started], timeout=min(_PLACEMENT_TIMEOUT_S, limit_s))
            if done:
                return
            if process.waits_for_group and not self._group_is_placed():
                logger.warning("the placement group has lost its room; going on without it")
                self._leave_group()
                ray.kill(process.actor)
                raise PeerLostError("the placement group has lost its room")
        raise EngineTimeoutError(f"a process was not ready within {limit_s:g} s")

    def _group_is_placed(self) -> bool:
        assert self._group is not None
        return bool(placement_group_table(self._group)["state"] == "CREATED")

    def _leave_group(self) -> None:
        """Keeps restarted processes out of the group; those that still live in it stay there."""
        for peer in self._peers:
            peer.process.leave_group()


def _lost(error: Exception) -> PeerLostError:
    """The error of a process that died, in one line: its own, if it failed while it started."""
    lines = str(error).strip().splitlines()
    failed = isinstance(error, ray.exceptions.RayActorError) and error.actor_init_failed
    return PeerLostError(lines[-1 if failed else 0].strip())


def _beside(station: float, pool: float, gpus: int) -> int:
    """Number of pools that find room on the GPUs beside the station.

    Args:
        station: GPUs that the station reserves; a fraction of a GPU is part of a single one.
        pool: GPUs that each pool reserves.
        gpus: Number of GPUs.
    """
    if pool >= 1:
        return int((gpus - math.ceil(station)) / pool)
    whole, part = divmod(station, 1.0)
    left = gpus - int(whole) - 1
    return left * int(1 / pool + _ROUNDING) + int((1 - part) / pool + _ROUNDING)


def _within(shares: Sequence[Share]) -> list[Share]:
    """The shares, with their CPUs scaled down to what the cluster has.

    Raises:
        ValueError: if they reserve more GPUs than the cluster has. A cluster without any is not
            checked, as it may start nodes that have some.
    """
    total = ray.cluster_resources()
    gpus, available = sum(share.gpu for share in shares), float(total.get("GPU", 0.0))
    if 0 < available < gpus - _ROUNDING:
        raise ValueError(
            f"base station and devices reserve {gpus:g} GPUs, but the cluster has {available:g}; "
            "take a smaller resources.gpu or resources.device_gpu, or fewer emulate.pools"
        )
    cpus = sum(share.cpu for share in shares)
    room = float(total.get("CPU", 1.0))
    if cpus <= room:
        return list(shares)
    return [Share(math.floor(share.cpu * room / cpus * 1e4) / 1e4, share.gpu) for share in shares]
