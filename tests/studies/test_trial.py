"""What a trial makes of errors, and how a cluster is joined."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from ray.exceptions import RayTaskError

from studies.execution.reasons import reason_of
from studies.execution.stages import Stages
from studies.execution.trial import StageTrainable, _StopWhenFull, start_ray
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
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
        (_invalid(), "steps: Input should be a valid integer"),
        (RayTaskError("f", "Traceback\n /tmp/ray/session_1", KeyError("a")), "KeyError: 'a'"),
    ],
)
def test_a_reason_is_the_first_line_of_what_was_raised(error: Exception, reason: str) -> None:
    assert reason_of(error).startswith(reason)
    assert not any(s in reason_of(error) for s in ("\n", "pydantic.dev", "/tmp/ray"))


def test_a_gpu_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray Tune would wait for it for ever."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("ray.init", lambda **_: None)
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    with pytest.raises(ValueError, match=r"resources\.gpu 1, but this machine has 0 GPUs"):
        start_ray(Study(name="s", resources={"gpu": 1}), None)
    assert start_ray(Study(name="s"), None)


@pytest.fixture
def trial(minimusic: Path, tmp_path: Path) -> StageTrainable:
    study = Study(name="s", data={"folder": minimusic})
    (spec, *_), folder = Plan(study).features(), StudyFolder(tmp_path / "out")
    job = (type(spec).__name__, spec.model_dump_json())
    return StageTrainable({"job": job, "study": study, "folder": folder, "features": []})


def test_a_full_disk_ends_the_run_and_is_no_failure(
    trial: StageTrainable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        raise StorageError.at(errno.ENOSPC, "/out/a")

    monkeypatch.setattr(Stages, "run", fill)
    result, stopper = trial.step(), _StopWhenFull()
    assert result["failure"] == ""
    assert not stopper("1", {"failure": "no clip"})
    assert not stopper.stop_all()
    stopper("2", result)
    assert stopper.stop_all()
    assert stopper.error is not None
    assert (stopper.error.errno, stopper.error.filename) == (errno.ENOSPC, "/out/a")


def test_a_spec_that_is_no_longer_valid_fails_with_one_line(trial: StageTrainable) -> None:
    kind, text = trial.config["job"]
    trial.reset_config({**trial.config, "job": (kind, text.replace('"audio"', '"smell"'))})
    failure = trial.step()["failure"]
    assert failure.startswith("modality: Input should be")
    assert "pydantic.dev" not in failure


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
