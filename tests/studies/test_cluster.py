"""How a study starts Ray or joins a cluster, and what a cluster has no room for."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import ray

from studies.execution.cluster import lack_of_room, start_ray, telling_lack_of_memory
from studies.execution.graph import Milestone, SpecGraph
from studies.execution.interrupt import Interrupt
from studies.execution.progress import SpecProgress, StudyProgress
from studies.execution.tuning import TuneRun
from studies.plan.study import Study
from studies.storage.folder import StudyFolder


def test_a_worker_that_is_killed_as_it_starts_is_one_line() -> None:
    """As Tune's event manager raises it; other errors stay what they are."""

    def fail(cause: Exception) -> None:
        with telling_lack_of_memory():
            raise RuntimeError(f"Caught unexpected exception: {cause}") from cause

    with pytest.raises(MemoryError, match=r"^memory ran out, .* 'tokcom study resume' goes on$"):
        fail(ray.exceptions.OutOfMemoryError("2 workers were killed\nthe top users"))
    with pytest.raises(RuntimeError, match=r"^Caught"):
        fail(KeyError("x"))


def test_a_trial_that_no_node_has_room_for_is_told() -> None:
    """Tune would wait without a word."""
    small = {"Alive": True, "Resources": {"CPU": 4.0, "memory": 1e9}}
    large = {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}
    assert lack_of_room({"CPU": 4.0}, [small]) is None
    assert lack_of_room({"CPU": 6.0, "GPU": 2.0}, [small, large]) is None
    gone = {**large, "Alive": False}
    told = lack_of_room({"CPU": 6.0, "GPU": 2.0}, [small, gone])
    assert told is not None
    assert told.startswith("no node of the cluster has the 6 CPU and 2 GPU that a trial takes")


def test_frozen_tokens_that_their_node_has_no_room_for_are_told() -> None:
    here = {"Alive": True, "Resources": {"node:10.0.0.1": 1.0}}
    there = {"Alive": True, "Resources": {"node:10.0.0.2": 1.0, "CPU": 8.0}}
    needed = {"CPU": 1.0, "node:10.0.0.1": 0.001}
    told = lack_of_room(needed, [here, there])
    assert told is not None
    assert told.startswith("the node of this command, where the data are, lacks the 1 CPU that")
    assert lack_of_room(needed, [{**here, "Resources": {**here["Resources"], "CPU": 1.0}}]) is None


@pytest.mark.parametrize(
    ("data", "gpus", "reserved"),
    [
        ({"minimusic": {}}, 0, {"CPU": 1.0, "node:10.0.0.1": 0.001}),
        ({"minimusic": {}}, 2, {"CPU": 1.0, "GPU": 1.0, "node:10.0.0.1": 0.001}),
        ({"folder": "/on/every/node"}, 0, {"CPU": 1.0, "GPU": 1.0}),
    ],
)
def test_frozen_tokens_are_made_where_a_study_makes_its_data(
    data: dict[str, Any],
    gpus: int,
    reserved: dict[str, float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without its GPU, if that node has none; data of one's own lie on every node."""
    resources = {"node:10.0.0.1": 1.0, "CPU": 4.0, **({"GPU": gpus} if gpus else {})}
    other = {"node:10.0.0.2": 1.0, "CPU": 4.0, "GPU": 4.0}
    nodes = [{"Alive": True, "Resources": own} for own in (resources, other)]
    monkeypatch.setattr("ray.nodes", lambda: nodes)
    monkeypatch.setattr("ray.util.get_node_ip_address", lambda: "10.0.0.1")
    folder = StudyFolder(tmp_path)
    monkeypatch.setattr(type(folder.store), "shared", False)
    run = TuneRun(Study(name="s", data=data, resources={"gpu": 1}), folder, [], [])
    assert run._resources({"type": "FeaturesSpec"}).required_resources == reserved


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Tune would wait for it for ever."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", lambda **_: None)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(ValueError, match=r"resources\.gpu 1, but this machine has 0 GPUs"):
        start_ray(Study(name="s", resources={"gpu": 1}), None)
    devices = Study(name="s", engine="ray", resources={"device_gpu": 0.5})
    with pytest.raises(ValueError, match=r"device_gpu 0\.5 of 3 devices, but this machine has 0"):
        start_ray(devices, None)
    assert start_ray(Study(name="s"), None)


def test_a_machine_too_busy_to_start_ray_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises a bare Exception, which was a traceback."""

    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ValueError, match=r"did not start: .* timed out during startup.*too busy"):
        start_ray(Study(name="s"), None)


def test_ray_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tune would move itself to the cluster, away from the study's folder and its graph."""
    with pytest.raises(ValueError, match=r"Ray Client \(ray://\); .* 'ray job submit'"):
        start_ray(Study(name="s"), "ray://head:10001")
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(ValueError, match="Ray Client"):
        start_ray(Study(name="s"), None)


def test_ctrl_c_is_ours_where_ray_runs_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook. Tune would end its run as if finished, and what waits would be failed."""
    monkeypatch.setenv("TUNE_DISABLE_SIGINT_HANDLER", "")
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    study = Study(name="s")
    assert not start_ray(study, None)
    assert os.environ["TUNE_DISABLE_SIGINT_HANDLER"] == "1"

    def swallow(*_: object) -> None:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("studies.execution.tuning.Tuner.fit", swallow)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr("ray.nodes", list)
    monkeypatch.setattr("ray.tune.with_parameters", lambda trainable, **_: trainable)
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "")
    run = TuneRun(study, StudyFolder(tmp_path), [], [])
    graph, shown = (
        SpecGraph(lambda _: False, Milestone([], list)),
        SpecProgress(StudyProgress(None)),
    )
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt):
        run.run(graph, shown, interrupt)


@pytest.fixture
def _module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single file in the current folder, which is not on the path."""
    (tmp_path / "of_their_own.py").write_text("ANSWER = 42\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p and Path(p) != tmp_path])
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.mark.usefixtures("_module")
def test_modules_of_the_users_own_reach_the_workers() -> None:
    """Those on another machine, too, where the file is not: here it is gone."""

    @ray.remote
    def answer() -> int:
        found: int = importlib.import_module("of_their_own").ANSWER
        return found

    assert start_ray(Study(name="s"), None, ["of_their_own"])
    try:
        Path("of_their_own.py").unlink()
        assert ray.get(answer.remote(), timeout=120) == 42
    finally:
        ray.shutdown()


@pytest.mark.usefixtures("_module")
def test_a_module_that_is_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="no module 'nobodys'"):
        start_ray(Study(name="s"), None, ["of_their_own", "nobodys"])


@pytest.fixture
def guarded_cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster that asks for a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = "from ray.scripts.scripts import main; main()"
    place = tempfile.mkdtemp(prefix="ray")  # sockets have short paths
    options = ["--head", "--block", "--num-cpus=1", "--include-dashboard=false"]
    options += [f"--port={port}", f"--temp-dir={place}"]
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "open-sesame-open-sesame"}
    head = subprocess.Popen(
        [sys.executable, "-c", command, "start", *options],
        env={**os.environ, **token, "HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while True:
        assert head.poll() is None
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.1)
    yield f"127.0.0.1:{port}"
    head.send_signal(signal.SIGTERM)
    head.wait(timeout=60)
    shutil.rmtree(place, ignore_errors=True)


def test_a_cluster_that_asks_for_a_token_is_told_from_none(
    guarded_cluster: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    without = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, "-m", "studies.cli", "study", "run", "quickstart"]
    done = subprocess.run(
        [*command, "--out", str(out), "--address", guarded_cluster],
        env={**without, "HOME": str(tmp_path), "RAY_NUM_REDIS_GET_RETRIES": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert f"the Ray cluster at '{guarded_cluster}' asks for another token" in line
    assert "RAY_AUTH_TOKEN" in line
    assert not (out / "data").exists()
