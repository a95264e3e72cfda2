"""Ray's object store overflows while a batch is on its way: slower, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from actors import Emulation, EmulationConfig, Faults, RayEngine
from tests.local_ray import local_ray

from .test_emulation import Start, start

__all__ = ["start"]  # a fixture

STORE_MB = 80


@pytest.fixture
def spilled(tmp_path: Path) -> Iterator[Path]:
    """The folder that a small object store spills to."""
    folder = tmp_path / "spilled"
    with local_ray(object_store_memory=STORE_MB * 1024**2, object_spilling_directory=str(folder)):
        yield folder


def test_what_spills_comes_back(start: Start, spilled: Path) -> None:
    config = EmulationConfig(users=30, duration_s=0.1, questions_per_s=8.0, pools=2, batch_size=16)
    calm = start("calm", config)
    with calm:
        calm.run()
    spilling = config.model_copy(update={"faults": Faults(spill_mb=2 * STORE_MB)})
    storm = start("storm", spilling, engine=RayEngine(deadline_s=120))
    most = 0

    def weigh(_: Emulation, state: object) -> None:
        nonlocal most
        most = max(most, sum(f.stat().st_size for f in spilled.rglob("*") if f.is_file()))

    with storm:
        storm.run(weigh)
    assert most > STORE_MB * 1e6 / 2
    assert_frame_equal(storm.journal.read(), calm.journal.read())
    with pytest.raises(ValueError, match="engine inline has no object store"):
        start("inline", spilling).run()
