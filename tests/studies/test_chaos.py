"""Chaos: whatever dies while users train and ask, the tables are the calm run's."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pandas as pd
import psutil
import pytest
import ray
from pandas.testing import assert_frame_equal
from ray.cluster_utils import Cluster

from studies.tables.columns import WALL_CLOCK_COLUMNS

from .small import mlms, write_study

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "studies.cli"]
LIMIT_S = 1200
DEVICES, STATION, TRIAL = "ray::Device", "ray::BaseStation", "ray::ResourceTrainable"
EVENTS = ("node", "driver", "driver", *[TRIAL] * 2, *[DEVICES] * 4, *[STATION] * 4)


@pytest.fixture
def nodes() -> Iterator[Cluster]:
    """A head and another node."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    cluster.add_node(num_cpus=2)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def _file(file: Path, root: Path, engine: str) -> Path:
    emulate = {
        "users": 30,
        "duration_s": 1.0,
        "questions_per_s": 8.0,
        "missing_prob": {"vision": 0.2},
        "batch_size": 8,
        "trains": True,
        "faults": {"outage_sinr_db": 0.0, "offline_prob": 0.05},
        "pools": 3,
    }
    return write_study(
        file,
        name="chaos",
        data={"folder": str(root)},
        airs=[{"name": "umi", "speed_mps": 1.5}],
        federation={"users": 30, "synchronise_every": 7},
        emulate=emulate,
        engine=engine,
        **mlms(alignment={"steps": 120}, fine_tuning={"steps": 120}),
    )


def _tables(out: Path) -> list[pd.DataFrame]:
    keys = {"results": ["method"], "devices": ["method", "user", "device"]}
    tables = [
        pd.read_parquet(out / name).sort_values(own, ignore_index=True)
        for name, own in keys.items()
    ]
    tables[0] = tables[0].drop(columns=[*WALL_CLOCK_COLUMNS])
    curves = pd.read_parquet(out / "curves")
    return [*tables, curves.sort_values(["method", "phase", "step"], ignore_index=True)]


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _kill(title: str, rng: random.Random) -> bool:
    """SIGKILL to one of the cluster's processes of such a name."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "".join(process.cmdline()[:1]).startswith(title):
                found.append(process)
    if not found:
        return False
    with suppress(psutil.NoSuchProcess):
        rng.choice(sorted(found, key=lambda p: p.pid)).kill()
    return True


def test_whatever_dies_the_tables_are_the_same(
    minimusic: Path, tmp_path: Path, nodes: Cluster
) -> None:
    """Devices, pools, base station, trials and the driver by SIGKILL, a node once, by a seed."""
    calm = tmp_path / "calm"
    inline = _file(tmp_path / "inline.yaml", minimusic, "inline")
    done = subprocess.run(
        [*COMMAND, "emulate", str(inline), "--out", str(calm)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

    out = tmp_path / "storm"
    in_ray = _file(tmp_path / "ray.yaml", minimusic, "ray")
    address = ["--address", nodes.address]
    begin = [*COMMAND, "emulate", str(in_ray), "--out", str(out), *address]
    resume = [*COMMAND, "study", "resume", str(out), "--retry-failed", *address]
    rng = random.Random(11)
    planned = rng.sample([*EVENTS], len(EVENTS))
    happened: list[str] = []
    driver = _start(begin)
    limit = time.monotonic() + LIMIT_S
    while planned and driver.poll() is None and time.monotonic() < limit:
        time.sleep(rng.uniform(2.0, 8.0))
        event = planned.pop(0)
        if event == "driver":
            driver.kill()
            driver.wait(timeout=60)
            driver = _start(resume if (out / "study.yaml").exists() else begin)
        elif event == "node":
            (other,) = (n for n in nodes.list_all_nodes() if n is not nodes.head_node)
            nodes.remove_node(other, allow_graceful=False)
            nodes.add_node(num_cpus=2)
        elif not _kill(event, rng):
            planned.append(event)  # nobody to kill now
            continue
        happened.append(event)
    _, errors = driver.communicate(timeout=LIMIT_S)
    print("happened:", ", ".join(happened), "| driver's last words:", errors[-2000:])
    assert set(happened) == set(EVENTS)
    done = subprocess.run(resume, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for got, wanted in zip(_tables(out), _tables(calm), strict=True):
        assert_frame_equal(got, wanted)
