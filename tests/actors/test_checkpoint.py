"""Training survives: phases go on from their checkpoints, and crashes change nothing."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import ray
import torch

from actors import (
    ActorSpec,
    Checkpoints,
    InlineEngine,
    PeerLostError,
    RayEngine,
    StateLostError,
)
from actors.engines.engine import Engine, Peer
from channel_models import named_air
from tests.local_ray import local_ray

from .conftest import NetworkParts, PartsOf, Trained, check_resumption


def _train(
    parts: NetworkParts, folder: Path, engine: Engine, steps: int = 6, every: int = 2
) -> Trained:
    """Every phase, with checkpoints in ``folder``."""
    losses = []
    with parts.network(engine) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        for phase in parts.phases(steps):
            losses += network.train(phase, Checkpoints(folder / phase.name, every))
        return losses, network.state()


def test_an_interrupted_phase_goes_on_to_the_same_network(
    parts_of: PartsOf, tmp_path: Path
) -> None:
    whole = _train(parts_of(), tmp_path / "whole", InlineEngine())
    check_resumption(partial(_train, parts_of()), whole, tmp_path, (7, 17))
    checkpoints = Checkpoints(tmp_path / "whole" / "fine-tuning")
    kept = list((tmp_path / "whole" / "fine-tuning").iterdir())
    assert [folder.name for folder in kept] == ["00000006"]
    checkpoints.clear()
    assert checkpoints.latest() is None


class _Stumbling(InlineEngine):
    """Restarts a device, whereupon another process dies before the phase begins."""

    def __init__(self) -> None:
        self._restarts = self._dies = False

    def spawn(self, specs: Sequence[ActorSpec]) -> list[Peer]:
        self._made = super().spawn(specs)
        self._restarts = True
        return self._made

    def restart_dead(self) -> list[Peer]:
        self._restarts, self._dies = False, self._restarts
        return self._made[-1:] if self._dies else []

    def get(self, refs: Sequence[Any]) -> list[Any]:
        if self._dies:
            self._dies = False
            raise PeerLostError("another process died")
        return super().get(refs)


def test_weights_that_a_restart_has_lost_are_never_a_phases_start(
    parts_of: PartsOf, tmp_path: Path
) -> None:
    parts = parts_of()
    with parts.network(_Stumbling()) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        with pytest.raises(StateLostError):
            network.train(parts.phases(2)[0], Checkpoints(tmp_path, 2))
    assert not list(tmp_path.iterdir())


class _Haunted(RayEngine):
    """Tells a killer which processes there are."""

    spawned: ClassVar[list[Peer]] = []

    def spawn(self, specs: Sequence[ActorSpec]) -> list[Peer]:
        made = super().spawn(specs)
        self.spawned.extend(made)
        return made


def _kill_some(rng: random.Random, done: threading.Event, killed: list[int]) -> None:
    """SIGKILL to devices and base stations at random moments, three times."""
    while len(killed) < 3 and not done.wait(rng.uniform(0.5, 2.0)):
        for victim in rng.sample(_Haunted.spawned, 1 if _Haunted.spawned else 0):
            with suppress(ray.exceptions.RayError):
                actor = victim.actor  # type: ignore[attr-defined]
                pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=120)
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)


@pytest.fixture
def cluster() -> Iterator[None]:
    with local_ray():
        yield


@pytest.mark.usefixtures("cluster")
def test_processes_killed_at_random_change_nothing(parts_of: PartsOf, tmp_path: Path) -> None:
    """Devices and the base station die by SIGKILL while they train."""
    losses, state = _train(parts_of(), tmp_path / "calm", InlineEngine(), steps=40, every=10)
    done, killed = threading.Event(), []
    killer = threading.Thread(target=_kill_some, args=(random.Random(5), done, killed))
    killer.start()
    for _ in range(5):  # as a study does whose processes die between two phases
        with suppress(PeerLostError, StateLostError):
            stormy, survived = _train(parts_of(), tmp_path / "storm", _Haunted(120), 40, 10)
            break
    done.set()
    killer.join()
    assert killed
    assert stormy == losses
    for name, tensor in state.items():
        assert torch.equal(survived[name], tensor), name
