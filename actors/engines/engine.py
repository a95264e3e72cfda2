"""Engines, which run devices and base station; the inline engine uses this process."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

EngineName = Literal["inline", "ray"]
Role = Literal["station", "devices"]


@dataclass(frozen=True)
class ActorSpec:
    """Role, class and constructor arguments of a peer."""

    role: Role
    cls: type
    arguments: tuple[Any, ...]


class EngineTimeoutError(RuntimeError):
    """A peer did not answer within the deadline."""


class Peer(ABC):
    """A device or base station on an engine.

    Calls return refs, to be passed to further calls or fetched with :meth:`Engine.get`.
    """

    @abstractmethod
    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        """Calls a method with values or refs; returns one ref for each value that it returns."""


class PeerLostError(RuntimeError):
    """A process of the network has died; :meth:`Engine.restart_dead` starts it again."""


class StateLostError(RuntimeError):
    """A process has died with state that no checkpoint holds; the network has to be rebuilt."""


class Engine(ABC):
    """Makes the peers of one network at a time, and fetches the values of refs.

    As a context manager, it closes itself at the end.
    """

    @property
    @abstractmethod
    def processes(self) -> int:
        """Number of processes that can run at once."""

    @abstractmethod
    def spawn(self, specs: Sequence[ActorSpec]) -> list[Peer]:
        """Makes the peers of one network."""

    @abstractmethod
    def get(self, refs: Sequence[Any]) -> list[Any]:
        """Waits for the values of refs."""

    @abstractmethod
    def kill(self, peer: Peer) -> None:
        """Kills a peer's process, for fault injection."""

    @abstractmethod
    def fill_object_store(self, megabytes: float) -> None:
        """Puts so much data into Ray's object store, in place of what an earlier call put there."""

    @abstractmethod
    def restart_dead(self) -> list[Peer]:
        """Restarts the peers that have died, with their original arguments; returns them."""

    @abstractmethod
    def release(self) -> None:
        """Releases every peer; their processes may host the next network."""

    def close(self) -> None:
        """Releases every peer and ends their processes."""
        self.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _InlinePeer(Peer):
    def __init__(self, target: object) -> None:
        self._target = target

    def call(self, method: str, *arguments: Any, returns: int = 1) -> list[Any]:
        result = getattr(self._target, method)(*arguments)
        return list(result) if returns > 1 else [result]


class InlineEngine(Engine):
    """Runs every peer in this process; a ref is the value itself."""

    @property
    def processes(self) -> int:
        return 1

    def spawn(self, specs: Sequence[ActorSpec]) -> list[Peer]:
        return [_InlinePeer(spec.cls(*spec.arguments)) for spec in specs]

    def get(self, refs: Sequence[Any]) -> list[Any]:
        return list(refs)

    def kill(self, peer: Peer) -> None:
        raise ValueError("engine inline has one process for all; take engine ray to kill some")

    def fill_object_store(self, megabytes: float) -> None:
        raise ValueError("engine inline has no object store; take engine ray to fill it")

    def restart_dead(self) -> list[Peer]:
        """Returns nothing: no peer can die alone in one process."""
        return []

    def release(self) -> None:
        """Does nothing: peers are freed with the network that refers to them."""


class OnEngine:
    """Base of classes with peers on an engine; as a context manager, it releases them at the end.

    Args:
        engine: Engine that the peers live on, which its maker closes; None for this process.
    """

    def __init__(self, engine: Engine | None) -> None:
        self._engine = engine or InlineEngine()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.release()
