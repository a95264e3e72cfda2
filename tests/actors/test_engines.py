"""Both engines give the same numbers, and nobody waits for ever."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import pytest
import ray
import torch
from torch import Tensor

from actors import (
    ActorSpec,
    EngineTimeoutError,
    Evaluation,
    InlineEngine,
    RayEngine,
    Share,
    hide_unreserved_gpus,
)
from actors.engines import retries
from actors.engines.engine import Engine, Peer, PeerLostError
from actors.engines.retries import RetriesExhaustedError
from actors.training.batches import _batches
from channel_models import named_air
from tests.local_ray import local_ray
from tokcom_core.systems import TokenLengths

from .conftest import NetworkParts, PartsOf


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    with local_ray(num_gpus=1):
        yield


@dataclass(frozen=True)
class _Run:
    """What came of a few steps of every phase and an evaluation."""

    losses: list[dict[str, float]]
    scores: Evaluation
    state: dict[str, Tensor]


def _run(
    parts: NetworkParts, engine: Engine, folder: Path, any_tokens: tuple[TokenLengths, ...] = ()
) -> _Run:
    """A short training, which leaves the network in ``folder``."""
    folder.mkdir()
    losses = []
    with parts.network(engine) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        for phase in parts.phases(steps=3):
            losses += network.train(replace(phase, any_tokens=any_tokens))
        scores = network.evaluate(parts.served, "test", 8)
        network.save(folder)
        return _Run(losses, scores, network.state())


@pytest.mark.usefixtures("_ray")
def test_ray_and_inline_agree_step_by_step(parts_of: PartsOf, tmp_path: Path) -> None:
    """Also where steps draw their token lengths."""
    lengths = ({"audio": 6, "vision": 6}, {"audio": 50, "vision": 117})
    inline = _run(parts_of(), InlineEngine(), tmp_path / "inline", lengths)
    remote = _run(parts_of(), RayEngine(deadline_s=300), tmp_path / "ray", lengths)
    assert inline.losses == remote.losses
    assert inline.scores == remote.scores
    assert inline.state.keys() == remote.state.keys()
    for name, tensor in inline.state.items():
        assert torch.equal(tensor, remote.state[name]), name


def test_a_saved_network_answers_alike(parts_of: PartsOf, tmp_path: Path) -> None:
    done = _run(parts_of(), InlineEngine(), tmp_path / "saved")
    files = {p.suffix for p in (tmp_path / "saved").rglob("*") if p.is_file()}
    assert files == {".safetensors", ".json", ".md"}
    parts = parts_of()
    with parts.network() as network:
        network.load(tmp_path / "saved")
        network.set_channel(named_air("rayleigh"), 6.0)
        assert network.evaluate(parts.served, "test", 8) == done.scores
        assert network.state().keys() == done.state.keys()


def test_another_seed_is_another_network(parts_of: PartsOf) -> None:
    with parts_of(seed=0).network() as first, parts_of(seed=1).network() as second:
        a, b = first.state(), second.state()
        trained = [n for n in a if "lora_B" not in n]
        assert not [n for n in trained if torch.equal(a[n], b[n])]


class _Sleeper:
    def __init__(self) -> None:
        pass

    def nap(self) -> None:
        time.sleep(60)


class _Resident:
    """Says in which process it lives, and who lives there with it."""

    living: ClassVar[list[str]] = []

    def __init__(self, name: str) -> None:
        if not name:
            raise ValueError("no name")
        self.living.append(name)
        self._name = name

    def __del__(self) -> None:
        self.living.remove(self._name)

    def where(self) -> tuple[int, list[str]]:
        return os.getpid(), list(self.living)

    def die(self) -> None:
        os._exit(1)


def _residents(engine: Engine, *names: str) -> list[Peer]:
    return engine.spawn([ActorSpec("devices", _Resident, (name,)) for name in names])


@pytest.mark.usefixtures("_ray")
def test_processes_outlive_a_network_and_keep_nothing_of_it() -> None:
    with RayEngine(deadline_s=120) as engine:
        first = engine.get(
            [*(ref for p in _residents(engine, "a", "b") for ref in p.call("where"))]
        )
        engine.release()
        peers = _residents(engine, "c", "d", "e")
        second = engine.get([ref for peer in peers for ref in peer.call("where")])
        assert {pid for pid, _ in first} < {pid for pid, _ in second}
        assert [living for _, living in second] == [["c"], ["d"], ["e"]]


class _Onlooker:
    """Says which GPUs its process may use."""

    def visible(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize(("gpu", "visible"), [(0.0, ""), (0.5, "0")])
def test_a_process_sees_the_gpus_that_it_reserves(gpu: float, visible: str) -> None:
    """Ray shows all GPUs of a node to whoever reserves none."""
    with RayEngine(deadline_s=120, shares={"devices": Share(gpu=gpu)}) as engine:
        (peer,) = engine.spawn([ActorSpec("devices", _Onlooker, ())])
        assert engine.get(peer.call("visible")) == [visible]


class _Unlucky:
    """Loses its GPU, as a kernel does that reads beyond its tensors."""

    def where(self) -> int:
        return os.getpid()

    def lose(self) -> None:
        raise torch.AcceleratorError("CUDA error: device-side assert\nCompile with DSA")

    def take(self, _: None) -> None:
        """Takes what another call returns."""

    def lose_later(self) -> None:
        """Loses it when the process is vacated."""
        torch.cuda.is_initialized = lambda: True
        torch.cuda.empty_cache = self.lose


@pytest.mark.usefixtures("_ray")
def test_a_process_that_has_lost_its_gpu_is_replaced() -> None:
    """CUDA repeats the error at every later call of the process."""
    with RayEngine(deadline_s=120) as engine:
        peer, other = engine.spawn([ActorSpec("devices", _Unlucky, ())] * 2)
        first = engine.get(peer.call("where"))
        said = r"^the GPU is lost: CUDA error: device-side assert$"
        with pytest.raises(PeerLostError, match=said):
            engine.get(other.call("take", *peer.call("lose")))
        assert engine.restart_dead() == [peer]
        second = engine.get(peer.call("where"))
        engine.get(peer.call("lose_later"))
        engine.release()
        (peer,) = engine.spawn([ActorSpec("devices", _Unlucky, ())])
        third = engine.get(peer.call("where"))
        assert len({*first, *second, *third}) == 3


class _Heavy:
    """Takes its time to load a checkpoint."""

    def __init__(self, load_s: float) -> None:
        time.sleep(load_s)

    def answer(self) -> int:
        return 42


@pytest.mark.usefixtures("_ray")
def test_the_deadline_of_an_answer_leaves_time_to_load() -> None:
    """In the process of a network before, whose start is not at issue here."""
    with RayEngine(deadline_s=120) as engine:
        for load_s in (0.0, 6.0):
            (peer,) = engine.spawn([ActorSpec("devices", _Heavy, (load_s,))])
            assert engine.get(peer.call("answer")) == [42]
            engine.release()
            engine._deadline_s = 3.0


@pytest.mark.usefixtures("_ray")
def test_more_gpus_than_there_are_are_refused() -> None:
    """Ray would let the processes wait for ever."""
    engine = RayEngine(shares={"station": Share(gpu=0.5), "devices": Share(gpu=0.75)})
    specs = [ActorSpec("station", _Onlooker, ()), ActorSpec("devices", _Onlooker, ())]
    with pytest.raises(ValueError, match=r"reserve 1\.25 GPUs, but the cluster has 1; take"):
        engine.spawn(specs)


@pytest.mark.parametrize(
    ("gpus", "station", "pool", "pools"),
    [
        (1, 0.5, 0.25, 2),
        (1, 0.4, 0.2, 3),
        (1, 0.0, 0.25, 4),
        (2, 0.7, 0.6, 1),  # no pool has room beside the station
        (2, 1.0, 0.5, 2),
        (4, 0.5, 1.0, 3),
        (1, 1.0, 0.25, 1),
    ],
)
def test_pools_find_room_beside_the_station(
    gpus: int, station: float, pool: float, pools: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 64.0, "GPU": float(gpus)})
    shares = {"station": Share(gpu=station), "devices": Share(cpu=1.0, gpu=pool)}
    assert RayEngine(shares=shares).processes == pools  # type: ignore[arg-type]


@pytest.mark.usefixtures("_ray")
def test_the_gpus_of_a_notebook_stay_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    hide_unreserved_gpus()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.usefixtures("_ray")
def test_a_process_that_died_between_two_networks_is_not_taken() -> None:
    with RayEngine(deadline_s=120) as engine:
        (peer,) = _residents(engine, "a")
        ((old, _),) = engine.get(peer.call("where"))
        peer.call("die")
        engine.release()
        (peer,) = _residents(engine, "b")
        ((new, _),) = engine.get(peer.call("where"))
        assert new != old


@pytest.mark.usefixtures("_ray")
def test_a_peer_that_cannot_be_made_says_why() -> None:
    with RayEngine(deadline_s=120) as engine:
        (peer,) = _residents(engine, "")
        with pytest.raises(ValueError, match="no name"):
            engine.get(peer.call("where"))


class _Stillborn:
    """Takes its process with it when it is made."""

    def __init__(self) -> None:
        os._exit(1)


def _no_room() -> None:
    raise OSError("no space left")


@pytest.mark.usefixtures("_ray")
@pytest.mark.parametrize(("prepare", "reason"), [(None, "died"), (_no_room, "no space left")])
def test_a_process_that_cannot_begin_is_given_up(
    prepare: Callable[[], None] | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "MAX_RETRIES", 1)
    with RayEngine(deadline_s=120, prepare=prepare) as engine:
        engine.spawn([ActorSpec("devices", _Stillborn, ())])
        with pytest.raises(RetriesExhaustedError, match=rf"process broke off 2 times: .*{reason}"):
            engine.restart_dead()


@pytest.mark.parametrize(
    "death",
    [
        ray.exceptions.ActorDiedError(),
        ray.exceptions.OutOfMemoryError("worker was killed\nby the memory monitor"),
        ray.exceptions.NodeDiedError("node was lost"),
        ray.exceptions.ObjectLostError("00", None, ""),
    ],
    ids=lambda death: type(death).__name__,
)
def test_every_way_to_die_is_a_lost_process(
    death: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's memory monitor, and a node that is lost, are not errors of an actor."""

    def get(*_: object, **__: object) -> None:
        raise death

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(PeerLostError, match=r"^[^\n]+$"):
        RayEngine().get([])


@pytest.mark.usefixtures("_ray")
def test_a_deadline_that_passes_is_an_error() -> None:
    engine = RayEngine(deadline_s=0.5)
    (sleeper,) = engine.spawn([ActorSpec("devices", _Sleeper, ())])
    refs = sleeper.call("nap")
    with pytest.raises(EngineTimeoutError, match=r"within 0\.5 s"):
        engine.get(refs)
    engine.close()


def test_every_sample_comes_once_an_epoch() -> None:
    order = _batches(size=12, batch_size=4, seed=3, count=9)
    for start in (0, 3, 6):
        epoch = [row for batch in order[start : start + 3] for row in batch]
        assert sorted(epoch) == list(range(12))
    assert [len(batch) for batch in _batches(size=3, batch_size=8, seed=0, count=2)] == [3, 3]
    assert _batches(12, 4, seed=3, count=4) == order[:4]
