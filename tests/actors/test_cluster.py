"""Several nodes: processes are kept together or spread, and a lost node changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
import ray
from pandas.testing import assert_frame_equal
from ray.cluster_utils import Cluster

from actors import ActorSpec, Emulation, EmulationConfig, PlacementStrategy, RayEngine, Role, Share
from actors.engines.ray_engine import _within

from .test_emulation import Start, start

__all__ = ["start"]  # a fixture

SHARES: dict[Role, Share] = {"station": Share(), "devices": Share(cpu=1.0)}


@pytest.fixture(scope="module")
def head() -> Iterator[Cluster]:
    """One node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1})
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def nodes(head: Cluster) -> Cluster:
    """A head and another node."""
    if len(head.list_all_nodes()) == 1:
        head.add_node(num_cpus=2)
    return head


class _Resident:
    """Says where it lives."""

    def address(self) -> tuple[str, list[int], int]:
        context = ray.get_runtime_context()
        return context.get_node_id(), ray.get_gpu_ids(), os.getpid()


def _addresses(engine: RayEngine, pools: int) -> list[tuple[str, list[int], int]]:
    specs = [ActorSpec("station", _Resident, ()), *[ActorSpec("devices", _Resident, ())] * pools]
    peers = engine.spawn(specs)
    return engine.get([ref for peer in peers for ref in peer.call("address")])


@pytest.mark.parametrize(("placement", "different"), [("PACK", 1), ("STRICT_SPREAD", 2)])
def test_processes_live_where_the_strategy_says(
    nodes: Cluster, placement: PlacementStrategy, different: int
) -> None:
    engine = RayEngine(deadline_s=60, shares=SHARES, placement=placement)
    assert engine.processes == 4
    found = _addresses(engine, pools=2)
    engine.close()
    assert len({node for node, _, _ in found}) == different
    assert len({process for _, _, process in found}) == 3


def test_processes_share_a_gpu_by_fractions(nodes: Cluster) -> None:
    shares: dict[Role, Share] = {"station": Share(gpu=0.5), "devices": Share(cpu=0.5, gpu=0.25)}
    engine = RayEngine(deadline_s=60, shares=shares, placement="PACK")
    assert engine.processes == 2  # beside the base station
    found = _addresses(engine, pools=2)
    engine.close()
    assert [gpus for _, gpus, _ in found] == [[0], [0], [0]]


def test_more_processes_than_cpus_share_them(nodes: Cluster) -> None:
    asked = [Share(), *[Share(cpu=1.0, gpu=0.1)] * 5]
    cut = _within(asked)
    assert cut == [Share(), *[Share(cpu=0.8, gpu=0.1)] * 5]
    assert _within(asked[:5]) == asked[:5]


def _finish(emulation: Emulation) -> None:
    with emulation:
        emulation.run()


def _lose(nodes: Cluster, replaced: bool) -> None:
    """Takes the second node away, and waits until all that lived on it are dead."""
    (other,) = (n for n in nodes.list_all_nodes() if n is not nodes.head_node)
    nodes.remove_node(other, allow_graceful=False)
    while sum(node["Alive"] for node in ray.nodes()) > 1:
        time.sleep(0.1)
    if replaced:
        nodes.add_node(num_cpus=2)


@pytest.mark.slow
@pytest.mark.parametrize("replaced", [True, False])
def test_a_lost_node_changes_nothing(start: Start, nodes: Cluster, replaced: bool) -> None:
    """Its pools are restarted: on another node, or all on the one that is left."""
    config = EmulationConfig(users=30, duration_s=0.2, questions_per_s=8.0, pools=3, batch_size=16)
    calm = start("calm", config)
    _finish(calm)
    engine = RayEngine(deadline_s=120, shares=SHARES, placement="SPREAD")
    storm = start("storm", config, engine=engine)
    lost: list[int] = []

    def lose(_: Emulation, state: object) -> None:
        if not lost:
            _lose(nodes, replaced)
            lost.append(1)

    with storm:
        storm.run(lose)
        assert lost
        assert storm.restarted >= 1
    assert_frame_equal(storm.journal.read(), calm.journal.read())
