"""Engines: where devices and the base station live. This process is the plain one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

EngineName = Literal["inline", "ray"]
Role = Literal["station", "devices"]


@dataclass(frozen=True)
class ActorSpec:
    """What a peer is made of: a class and the arguments of its constructor."""

    role: Role
    cls: type
    arguments: tuple[Any, ...]


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
    def spawn(self, recipes: Sequence[ActorSpec]) -> list[Peer]:
        """Makes the peers of one network."""

    @abstractmethod
    def get(self, refs: Sequence[Any]) -> list[Any]: ...

    @abstractmethod
    def kill(self, peer: Peer) -> None:
        """Kills a peer's process, for fault injection."""

    @abstractmethod
    def fill_object_store(self, megabytes: float) -> None:
        """Fills Ray's object store with so much, in the place of what it held of this before."""

    @abstractmethod
    def restart_dead(self) -> list[Peer]:
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

    def spawn(self, recipes: Sequence[ActorSpec]) -> list[Peer]:
        return [_InlinePeer(recipe.cls(*recipe.arguments)) for recipe in recipes]

    def get(self, refs: Sequence[Any]) -> list[Any]:
        return list(refs)

    def kill(self, peer: Peer) -> None:
        raise ValueError("engine inline has one process for all; take engine ray to kill some")

    def fill_object_store(self, megabytes: float) -> None:
        raise ValueError("engine inline has no object store; take engine ray to fill it")

    def restart_dead(self) -> list[Peer]:
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
