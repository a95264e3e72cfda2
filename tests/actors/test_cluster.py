"""Several nodes: a lost one changes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
from pandas.testing import assert_frame_equal
from ray.cluster_utils import Cluster

from actors import Emulation, EmulationConfig, RayEngine

from .test_emulation import Start, start

__all__ = ["start"]  # a fixture


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head and another node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def _finish(emulation: Emulation) -> None:
    with emulation:
        emulation.run()


def test_a_lost_node_changes_nothing(start: Start, nodes: Cluster) -> None:
    """Its pools are made anew on the node that is left."""
    config = EmulationConfig(users=30, duration_s=0.2, questions_per_s=8.0, pools=3, batch_size=16)
    calm = start("calm", config)
    _finish(calm)
    storm = start("storm", config, engine=RayEngine(deadline_s=120, strategy="SPREAD"))
    lost: list[int] = []

    def lose(_: Emulation, moment: object) -> None:
        if not lost:
            (other,) = (n for n in nodes.list_all_nodes() if n is not nodes.head_node)
            nodes.remove_node(other, allow_graceful=False)
            lost.append(1)

    with storm:
        storm.run(lose)
        assert lost
        assert storm.revived >= 1
    assert_frame_equal(storm.journal.read(), calm.journal.read())
