"""A study, and two finished ones that all may look at; one is on an S3 server of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer

from studies.cli.main import main
from studies.plan.study import Study

from .small import write_study

GOLDEN = Path(__file__).parent / "golden"
LIMIT_S = 600


def tokcom(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs the command."""
    return subprocess.run(
        [sys.executable, "-m", "studies.cli", *(str(a) for a in arguments)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture
def study() -> Study:
    """One method at two SNRs, with two seeds."""
    return Study(name="s", methods=["aligned"], eval_snr_db=[0, 10], seeds=[0, 1])


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of all methods on three airs, run by the command."""
    out = tmp_path_factory.mktemp("finished") / "methods"
    file, shown = GOLDEN / "methods.yaml", "loggers=tensorboard"
    done = tokcom("study", "run", file, "--out", out, "--set", shown)
    assert done.returncode == 0, done.stdout + done.stderr
    (out / "shown.txt").write_text(done.stdout)
    return out


class Machines:
    """Homes of people who share nothing but what they keep elsewhere."""

    def __init__(self, homes: Path) -> None:
        self._homes = homes

    def tokcom(self, machine: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        """Runs the command there."""
        home = self._homes / machine
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "studies.cli", *(str(a) for a in arguments)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "HOME": str(home)},
        )

    def copy(self, machine: str) -> Path:
        """A machine's copy of the only study that it has from elsewhere."""
        (found,) = (self._homes / machine / ".cache" / "tokcom" / "studies").iterdir()
        return found


@pytest.fixture
def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs the command in this process; returns its one line of complaint."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["tokcom", *(str(a) for a in arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return run


@pytest.fixture
def shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Runs the command in this process; returns what it shows."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["tokcom", *(str(a) for a in arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        return capsys.readouterr().out

    return run


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Machines:
    return Machines(tmp_path_factory.mktemp("homes"))


@pytest.fixture(scope="session")
def bucket() -> Iterator[Callable[[str], str]]:
    """The URI of a study in a bucket of an S3 server on this machine, its endpoint included."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="tokcom",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="studies")
    where = f"scheme=http&endpoint_override={host}%3A{port}&region=us-east-1"
    yield lambda study: f"s3://tokcom:secret@studies/{study}?{where}"
    server.stop()


@pytest.fixture(scope="session")
def crowd_file(minimusic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study whose users ask."""
    emulate = {
        "duration_s": 0.5,
        "questions_per_s": 6.0,
        "missing_prob": {"vision": 0.3},
        "batch_size": 8,
        "faults": {"outage_sinr_db": 0.0},
        "trains": True,
    }
    return write_study(
        tmp_path_factory.mktemp("crowd") / "crowd.yaml",
        name="crowd",
        data={"folder": str(minimusic)},
        airs=[{"name": "umi", "speed_mps": 1.5}],
        emulate=emulate,
        loggers="tensorboard",
    )


@pytest.fixture(scope="session")
def emulated(crowd_file: Path, bucket: Callable[[str], str], machines: Machines) -> Path:
    """The copy on machine ``one`` of an emulation of 40 users that is kept on S3."""
    place = bucket("crowd")
    done = machines.tokcom("one", "emulate", crowd_file, "--users", 40, "--out", place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3://studies/crowd/report/report.html" in done.stdout
    assert "secret" not in done.stdout
    assert "fairness" in done.stdout
    return machines.copy("one")
