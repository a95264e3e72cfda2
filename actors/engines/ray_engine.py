"""The engine that gives every device process and the base station a Ray actor of its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import ray
import torch
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from .engine import ActorSpec, Engine, EngineTimeoutError, Peer, PeerLostError, Role
from .serialization import register_tensor_serializer

logger = logging.getLogger(__name__)

PlacementStrategy = Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"]
"""Ray's strategies of placement groups."""

_PLACEMENT_TIMEOUT_S = 10.0
"""How long a placement group may take before one goes on without it."""

_CHUNK_MB = 16.0


@dataclass(frozen=True)
class Share:
    """What a process takes of its node; fractions are shared with others."""

    cpu: float = 0.0
    gpu: float = 0.0


class _RayPeer(Peer):
    """An actor, in a bundle of a placement group or wherever Ray puts it."""

    def __init__(
        self,
        recipe: ActorSpec,
        threads: int,
        prepare: Callable[[], None] | None,
        share: Share,
        bundle: PlacementGroupSchedulingStrategy | None,
    ) -> None:
        self._arguments = (threads, prepare, *recipe.arguments)
        self._factory = ray.remote(_threaded(recipe.cls))
        self._share = share
        self._bundle = bundle
        self.make()

    def make(self) -> None:
        """Starts the actor, or another one in the place of a dead one."""
        options = self._factory.options(
            num_cpus=self._share.cpu if self._bundle else 0,
            num_gpus=self._share.gpu,
            scheduling_strategy=self._bundle,
        )
        self.actor = options.remote(*self._arguments)
        self.waits_for_group = self._bundle is not None

    def leave_group(self) -> None:
        """Goes wherever there is room, from the next start on."""
        self._bundle = None

    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        ref = getattr(self.actor, method).options(num_returns=returns).remote(*arguments)
        return list(ref) if returns > 1 else [ref]


class RayEngine(Engine):
    """One Ray actor each; frames and gradients move through the object store.

    Without ``together``, actors ask for no CPU: they work in turns, on the CPU of whoever made
    them, and inside a Ray Tune trial they live in its placement group.

    Args:
        deadline_s: longest wait for any answer.
        threads: torch threads of each actor; results can depend on it in the last bit.
        shares: what a process of each role takes of its node.
        together: strategy of a placement group for all of a network's processes.
        prepare: called in every process before its peer is made, such as to fetch files.
    """

    def __init__(
        self,
        deadline_s: float = 600.0,
        threads: int = 1,
        shares: dict[Role, Share] | None = None,
        together: PlacementStrategy | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        register_tensor_serializer()
        self._prepare = prepare
        self._deadline_s = deadline_s
        self._threads = threads
        self._shares = shares or {}
        self._together = together
        self._group: PlacementGroup | None = None
        self._peers: list[_RayPeer] = []
        self._ballast: list[Any] = []

    @property
    def processes(self) -> int:
        share = self._share("devices")
        total = ray.cluster_resources()
        room = total.get("CPU", 1.0) / (share.cpu or 1.0)
        if share.gpu:
            room = min(room, total.get("GPU", 0.0) / share.gpu)
        return max(1, int(room))

    def spawn(self, recipes: Sequence[ActorSpec]) -> list[Peer]:
        shares = _within([self._share(recipe.role) for recipe in recipes])
        if self._together is not None:
            self._group = self._reserve(shares)
        bundle = 0
        made = []
        for recipe, share in zip(recipes, shares, strict=True):
            where = None
            if self._group is not None:
                # Whoever takes nothing has no bundle of its own, and sits in any of the group's.
                own = -1 if share == Share() else bundle
                bundle += own >= 0
                where = PlacementGroupSchedulingStrategy(self._group, own)
            made.append(_RayPeer(recipe, self._threads, self._prepare, share, where))
        self._peers += made
        return list(made)

    def get(self, refs: Sequence[Any]) -> list[Any]:
        try:
            values: list[Any] = ray.get(list(refs), timeout=self._deadline_s)
        except ray.exceptions.GetTimeoutError:
            raise EngineTimeoutError(f"no answer within {self._deadline_s:g} s") from None
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
            raise PeerLostError(str(error).splitlines()[0]) from None
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
            while not self._lives(peer):
                peer.make()
                if peer not in restarted:
                    restarted.append(peer)
        return restarted

    def close(self) -> None:
        for peer in self._peers:
            ray.kill(peer.actor)
        self._peers.clear()
        self._ballast.clear()
        if self._group is not None:
            remove_placement_group(self._group)

    def _share(self, role: Role) -> Share:
        return self._shares.get(role, Share())

    def _reserve(self, shares: Sequence[Share]) -> PlacementGroup | None:
        """Room for the shares, or None where there is none as asked."""
        frame_batches = [
            {name: value for name, value in (("CPU", s.cpu), ("GPU", s.gpu)) if value}
            for s in shares
            if s != Share()
        ]
        if not frame_batches:
            return None
        group = placement_group(frame_batches, strategy=self._together)
        if group.wait(_PLACEMENT_TIMEOUT_S):
            return group
        remove_placement_group(group)
        logger.warning(
            "no room for %d processes (%s) as a group", len(frame_batches), self._together
        )
        return None

    def _lives(self, peer: _RayPeer) -> bool:
        """Waits for an actor to be ready; False if it has died, or its place is gone."""
        ready = [peer.actor.__ray_ready__.remote()]
        for _ in range(math.ceil(self._deadline_s / _PLACEMENT_TIMEOUT_S)):
            done, _ = ray.wait(ready, timeout=min(_PLACEMENT_TIMEOUT_S, self._deadline_s))
            if done:
                try:
                    ray.get(done)
                except ray.exceptions.RayActorError:
                    return False
                return True
            if peer.waits_for_group and not self._group_is_placed():
                logger.warning("the placement group has lost its room; going on without it")
                self._leave_group()
                ray.kill(peer.actor)
                return False
        raise EngineTimeoutError(f"a process was not ready within {self._deadline_s:g} s")

    def _group_is_placed(self) -> bool:
        assert self._group is not None
        return bool(placement_group_table(self._group)["state"] == "CREATED")

    def _leave_group(self) -> None:
        """The group itself stays, for those who still live in it."""
        for peer in self._peers:
            peer.leave_group()


def _within(shares: Sequence[Share]) -> list[Share]:
    """The shares, their CPUs cut evenly to what the cluster has: more processes share them."""
    asked = sum(share.cpu for share in shares)
    room = float(ray.cluster_resources().get("CPU", 1.0))
    if asked <= room:
        return list(shares)
    return [Share(math.floor(share.cpu * room / asked * 1e4) / 1e4, share.gpu) for share in shares]


def _threaded(cls: type) -> type:
    """``cls`` whose constructor first takes torch's thread count, and what is to be done before."""

    class Threaded(cls):  # type: ignore[misc]
        def __init__(
            self, threads: int, prepare: Callable[[], None] | None, *arguments: Any
        ) -> None:
            torch.set_num_threads(threads)
            register_tensor_serializer()
            if prepare is not None:
                prepare()
            super().__init__(*arguments)

    Threaded.__name__ = Threaded.__qualname__ = cls.__name__
    return Threaded
