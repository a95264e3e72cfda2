"""Both engines give the same numbers, and nobody waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
import torch

from actors import (
    ActorSpec,
    AlignmentLossConfig,
    EngineTimeoutError,
    InlineEngine,
    Network,
    RayEngine,
    StreamInput,
    Training,
)
from actors.engines.engine import Engine
from actors.training.batches import _batches
from channel_models import named_air

from .conftest import NetworkParts

ALIGN = [
    StreamInput("vision", "align"),
    StreamInput("audio", "align"),
    StreamInput("caption", "align"),
    StreamInput("question", "train"),
]
TASK = [
    StreamInput("vision", "train"),
    StreamInput("audio", "train"),
    StreamInput("question", "train"),
]
TEST = [
    StreamInput("vision", "test"),
    StreamInput("audio", "test"),
    StreamInput("question", "test"),
]


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def _run(parts: NetworkParts, engine: Engine, folder: Path) -> tuple[list[object], ...]:
    """A few steps of both stages, an evaluation, and every trained tensor."""
    folder.mkdir()
    stage_1 = Training(3, 1e-3, "cosine_with_min_lr")
    stage_2 = Training(3, 1e-3, "linear", warmup_steps=1)
    with Network(*parts, engine) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        sizes = {"align": 20, "train": 50}
        losses = network.align(stage_1, AlignmentLossConfig(), ALIGN, sizes, 8)
        network.calibrate(TASK, 50, 16)
        losses += network.fine_tune(stage_2, TASK, 50, 8)
        scores = network.evaluate(TEST, 20, 8)
        network.save(folder)
        return losses, [scores], list(network.state().items())


@pytest.mark.usefixtures("_ray")
def test_ray_and_inline_agree_step_by_step(
    parts_of: Callable[..., NetworkParts], tmp_path: Path
) -> None:
    inline = _run(parts_of(), InlineEngine(), tmp_path / "inline")
    remote = _run(parts_of(), RayEngine(deadline_s=300), tmp_path / "ray")
    assert inline[0] == remote[0]
    assert inline[1] == remote[1]
    for (name, a), (other, b) in zip(inline[2], remote[2], strict=True):  # type: ignore[misc]
        assert name == other
        assert torch.equal(a, b), name


def test_a_saved_network_answers_alike(
    parts_of: Callable[..., NetworkParts], tmp_path: Path
) -> None:
    _, (scores,), state = _run(parts_of(), InlineEngine(), tmp_path / "saved")
    files = {p.suffix for p in (tmp_path / "saved").rglob("*") if p.is_file()}
    assert files <= {".safetensors", ".json", ".md"}
    with Network(*parts_of(seed=0)) as network:
        network.load(tmp_path / "saved")
        network.set_channel(named_air("rayleigh"), 6.0)
        assert network.evaluate(TEST, 20, 8) == scores
        assert network.state().keys() == dict(state).keys()  # type: ignore[arg-type]


def test_another_seed_is_another_network(parts_of: Callable[..., NetworkParts]) -> None:
    with Network(*parts_of(seed=0)) as first, Network(*parts_of(seed=1)) as second:
        a, b = first.state(), second.state()
        trained = [n for n in a if "lora_B" not in n]
        assert not [n for n in trained if torch.equal(a[n], b[n])]


class _Sleeper:
    def __init__(self) -> None:
        pass

    def nap(self) -> None:
        time.sleep(60)


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
