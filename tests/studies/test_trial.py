"""What a trial makes of errors, and how a cluster is joined."""

from __future__ import annotations

import errno
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
import torch
from pydantic import BaseModel
from ray.exceptions import RayTaskError

from studies.errors import reason_of
from studies.execution.cluster import lack_of_room, start_ray
from studies.execution.graph import Milestone, SpecGraph
from studies.execution.interrupt import Interrupt
from studies.execution.progress import SpecProgress, StudyProgress
from studies.execution.reporting import Report, TrainingReporter
from studies.execution.runner import SpecRunner
from studies.execution.searcher import SpecSearcher, SpecStopper
from studies.execution.trial import REPORT, SpecTrainable
from studies.execution.tuning import TuneRun
from studies.plan.cells import Plan
from studies.plan.spec import Spec
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from tokcom_core.features import MediaFeatures
from tokcom_core.storage import StorageError


class _Config(BaseModel):
    steps: int


def _invalid() -> Exception:
    try:
        _Config(steps="many")
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no clip\nbut much to say"), "no clip"),
        (RuntimeError("out of memory\n  in a kernel"), "RuntimeError: out of memory"),
        (_invalid(), "steps should be a whole number"),
        (RayTaskError("f", "Traceback\n /tmp/ray/session_1", KeyError("a")), "KeyError: 'a'"),
    ],
)
def test_a_reason_is_the_first_line_of_what_was_raised(error: Exception, reason: str) -> None:
    assert reason_of(error).startswith(reason)
    assert not any(s in reason_of(error) for s in ("\n", "pydantic.dev", "/tmp/ray"))


def test_an_error_of_somebodys_own_class_says_where() -> None:
    """The innermost frame outside installed packages; Ray passes tracebacks on as text."""
    here = Path(__file__)
    try:
        [].pop()
    except IndexError as error:
        local, frame = reason_of(error), error.__traceback__
    assert frame is not None
    assert local.endswith(f"({here.name}, line {frame.tb_lineno})")
    try:
        importlib.import_module("nowhere")
    except ImportError as error:
        local, frame = reason_of(error), error.__traceback__
    assert frame is not None
    assert local.endswith(f"({here.name}, line {frame.tb_lineno})")
    remote = (
        f'Traceback\n  File "{here}", line 7, in f\n  File "/x/site-packages/a.py", line 9, in g'
    )
    assert (
        reason_of(RayTaskError("f", remote, KeyError("a")))
        == f"KeyError: 'a' ({here.name}, line 7)"
    )


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
def trial(minimusic: Path, tmp_path: Path) -> SpecTrainable:
    study = Study(name="s", data={"folder": minimusic})
    specs, folder = Plan(study).features(), StudyFolder(tmp_path / "out")
    spec = next(spec for spec in specs if isinstance(spec.features, MediaFeatures))

    class Trial(SpecTrainable):
        def setup(self, config: dict[str, Any]) -> None:
            super().setup(config, study, folder, [])

    return Trial({"type": type(spec).__name__, "spec": spec.model_dump_json()})


def test_a_full_disk_ends_the_run_and_is_no_failure(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise StorageError.at(errno.ENOSPC, "/out/a")

    monkeypatch.setattr(SpecRunner, "run", fill)
    graph = SpecGraph(lambda _: False, Milestone([], list))
    result, stopper = trial.step(), SpecStopper(SpecSearcher(graph, lambda: 1, lambda _: None))
    assert result["failure"] == ""
    assert not stopper("1", {"failure": "no clip"})
    assert not stopper.stop_all()
    stopper("2", result)
    assert stopper.stop_all()
    assert stopper.error is not None
    assert (stopper.error.errno, stopper.error.filename) == (errno.ENOSPC, "/out/a")


def test_own_code_that_exits_fails_its_trial(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of the spec would end without a result, and the study wait for ever."""

    def leave(*_: object) -> None:
        sys.exit("no microphone")

    monkeypatch.setattr(SpecRunner, "run", leave)
    outcome = trial._outcome()
    assert outcome["failure"].startswith("SystemExit: no microphone (test_trial.py, line ")
    assert trial.step()["failure"] == outcome["failure"]


def test_a_spec_that_is_no_longer_valid_fails_with_one_line(trial: SpecTrainable) -> None:
    text = trial.config["spec"]
    trial.reset_config({**trial.config, "spec": text.replace('"ast"', '"nose"')})
    failure = trial.step()["failure"]
    assert failure.startswith("features.media.encoder: no encoder 'nose'; take some of ast, vivit")
    assert "pydantic.dev" not in failure


class _Onlooker(SpecTrainable):
    """Says which GPUs its worker may use."""

    def setup(self, config: dict[str, Any]) -> None:
        super().setup(config, Study(name="s"), StudyFolder(config["out"]), [])

    def visible(self) -> str | None:
        return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_a_trial_sees_the_gpus_that_it_reserves(tmp_path: Path) -> None:
    """Else 64 trials that reserve none would all take the first GPU."""
    ray.init(address="local", num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
    try:
        for gpus, visible in ((0, ""), (1, "0")):
            config = {"key": "idle", "out": str(tmp_path)}
            worker = ray.remote(_Onlooker).options(num_gpus=gpus).remote(config)
            assert ray.get(worker.visible.remote(), timeout=120) == visible
    finally:
        ray.shutdown()


def _accelerator_error(code: int) -> Exception:
    error = torch.AcceleratorError("CUDA error: device-side assert\nCompile with DSA")
    error.error_code = code
    return error


def test_a_worker_that_has_lost_its_gpu_ends(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every later trial of the worker would fail. Memory that has run out is no such error."""

    def lose(_: SpecRunner, spec: Spec, report: Report) -> None:
        raise error

    monkeypatch.setattr(SpecRunner, "run", lose)
    error = _accelerator_error(710)
    with pytest.raises(RuntimeError, match=r"^AcceleratorError: CUDA error: .*[^\n]$"):
        trial.step()
    for error in (_accelerator_error(2), torch.OutOfMemoryError("CUDA out of memory")):
        trial.reset_config(trial.config)
        assert error.__class__.__name__ in trial.step()["failure"]


def test_a_trial_tells_of_its_steps_before_it_ends(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(_: SpecRunner, spec: Spec, report: Report) -> None:
        tell = TrainingReporter(report, steps=60, batch_size=8, losses=["task"])
        for step in range(1, 61):
            tell(step, {"task": 1 / step})

    monkeypatch.setattr(SpecRunner, "run", learn)
    *told, last = [trial.step() for _ in range(4)]
    reports = [result[REPORT] for result in told]
    assert [report["step"] for report in reports] == [25, 50, 60]
    assert all(report["samples_per_s"] > 0 and report["steps"] == 60 for report in reports)
    assert reports[1]["task"] == pytest.approx(sum(1 / step for step in range(26, 51)) / 25)
    assert last == {"done": True, "failure": ""}


def test_the_speed_of_a_resumed_training_counts_its_own_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = iter([0.0, 5.0])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    reports: list[dict[str, Any]] = []
    tell = TrainingReporter(reports.append, steps=125, batch_size=8, losses=["task"])
    for step in range(101, 126):
        tell(step, {})
    assert [report["samples_per_s"] for report in reports] == [25 * 8 / 5.0]


def test_an_idle_trial_does_nothing_and_its_worker_takes_a_spec(
    trial: SpecTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SpecRunner, "run", lambda *_: None)
    spec = trial.config
    trial.reset_config({"key": "idle"})
    assert trial.step() == trial.step() == {}
    trial.reset_config(spec)
    assert trial.step() == {"done": True, "failure": ""}


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
