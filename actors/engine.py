"""Engines: where devices and the base station live, in this process or in Ray actors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Literal, Self

import ray
import torch

from .sharing import share_tensors

EngineName = Literal["inline", "ray"]
Strategy = Literal["DEFAULT", "SPREAD"]


class EngineTimeoutError(RuntimeError):
    """Somebody did not answer within the deadline."""


class Peer(ABC):
    """A device or base station, wherever it lives. Calls return tickets, to be passed on or got."""

    @abstractmethod
    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        """Calls a method with values or tickets; one ticket for each value it returns."""


class PeerLostError(RuntimeError):
    """A process of the network has died; :meth:`Engine.revive` makes it anew."""


class Engine(ABC):
    """Makes peers and redeems tickets."""

    @property
    @abstractmethod
    def processes(self) -> int:
        """How many processes can work at once."""

    @abstractmethod
    def spawn(self, cls: type, *arguments: Any) -> Peer: ...

    @abstractmethod
    def get(self, tickets: Sequence[Any]) -> list[Any]: ...

    @abstractmethod
    def kill(self, peer: Peer) -> None:
        """Kills a peer's process, for fault injection."""

    @abstractmethod
    def revive(self) -> list[Peer]:
        """Makes the peers anew that have died, as they were spawned; returns them."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of every peer."""


class _InlinePeer(Peer):
    def __init__(self, target: object) -> None:
        self._target = target

    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        result = getattr(self._target, method)(*arguments)
        return list(result) if returns > 1 else [result]


class InlineEngine(Engine):
    """Everything in this process; a ticket is the value itself."""

    @property
    def processes(self) -> int:
        return 1

    def spawn(self, cls: type, *arguments: Any) -> Peer:
        return _InlinePeer(cls(*arguments))

    def get(self, tickets: Sequence[Any]) -> list[Any]:
        return list(tickets)

    def kill(self, peer: Peer) -> None:
        raise ValueError("engine inline has one process for all; take engine ray to kill some")

    def revive(self) -> list[Peer]:
        """Nobody dies alone in one process."""
        return []

    def close(self) -> None:
        """Nothing to let go of: the peers go with whoever holds them."""


class OnEngine:
    """Whatever has peers on an engine; as a context manager it closes the engine in the end.

    Args:
        engine: where the peers live; None for this process.
    """

    def __init__(self, engine: Engine | None) -> None:
        self._engine = engine or InlineEngine()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._engine.close()


class _RayPeer(Peer):
    def __init__(
        self, cls: type, arguments: tuple[Any, ...], threads: int, strategy: Strategy
    ) -> None:
        self._arguments = (threads, *arguments)
        self._factory = ray.remote(_threaded(cls)).options(num_cpus=0, scheduling_strategy=strategy)
        self.make()

    def make(self) -> None:
        """Starts the actor, or another one in the place of a dead one."""
        self.actor = self._factory.remote(*self._arguments)

    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        ticket = getattr(self.actor, method).options(num_returns=returns).remote(*arguments)
        return list(ticket) if returns > 1 else [ticket]


class RayEngine(Engine):
    """One Ray actor each; frames and gradients move through the object store.

    Actors ask for no CPU of their own: they work in turns, on the CPU of whoever made them.

    Args:
        deadline_s: longest wait for any answer.
        threads: torch threads of each actor; results can depend on it in the last bit.
        strategy: Ray's, ``SPREAD`` uses every node of a cluster.
    """

    def __init__(
        self, deadline_s: float = 600.0, threads: int = 1, strategy: Strategy = "DEFAULT"
    ) -> None:
        share_tensors()
        self._strategy = strategy
        self._deadline_s = deadline_s
        self._threads = threads
        self._peers: list[_RayPeer] = []

    @property
    def processes(self) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 1)))

    def spawn(self, cls: type, *arguments: Any) -> Peer:
        peer = _RayPeer(cls, arguments, self._threads, self._strategy)
        self._peers.append(peer)
        return peer

    def get(self, tickets: Sequence[Any]) -> list[Any]:
        try:
            values: list[Any] = ray.get(list(tickets), timeout=self._deadline_s)
        except ray.exceptions.GetTimeoutError:
            raise EngineTimeoutError(f"no answer within {self._deadline_s:g} s") from None
        except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError) as error:
            raise PeerLostError(str(error).splitlines()[0]) from None
        return values

    def kill(self, peer: Peer) -> None:
        assert isinstance(peer, _RayPeer)
        ray.kill(peer.actor)

    def revive(self) -> list[Peer]:
        revived: list[Peer] = []
        for peer in self._peers:
            try:
                ray.get(peer.actor.__ray_ready__.remote(), timeout=self._deadline_s)
            except ray.exceptions.RayActorError:
                peer.make()
                revived.append(peer)
        return revived

    def close(self) -> None:
        for peer in self._peers:
            ray.kill(peer.actor)
        self._peers.clear()


def _threaded(cls: type) -> type:
    """``cls`` with torch's thread count as first argument of its constructor."""

    class Threaded(cls):  # type: ignore[misc]
        def __init__(self, threads: int, *arguments: Any) -> None:
            torch.set_num_threads(threads)
            share_tensors()
            super().__init__(*arguments)

    Threaded.__name__ = Threaded.__qualname__ = cls.__name__
    return Threaded


def make_engine(name: EngineName, threads: int = 1, strategy: Strategy = "DEFAULT") -> Engine:
    """The engine of a study's ``engine:`` key, see :class:`RayEngine`."""
    if name == "inline":
        return InlineEngine()
    return RayEngine(threads=threads, strategy=strategy)
