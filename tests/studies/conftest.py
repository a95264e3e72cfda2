"""An emulation that all may look at, kept on an S3 server of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pytest
import yaml
from moto.server import ThreadedMotoServer

from studies.cli.main import main

LIMIT_S = 600


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
    study = {
        "name": "crowd",
        "data": {"folder": str(minimusic)},
        "methods": ["aligned"],
        "airs": [{"name": "umi", "speed_mps": 1.5}],
        "tokens": {"audio": 4, "vision": 4},
        "models": {"receiver_width": 64},
        "alignment": {"steps": 4, "batch_size": 16},
        "fine_tuning": {"steps": 4, "floor_steps": 4, "batch_size": 8},
        "evaluation": {"questions": 24},
        "emulate": {
            "duration_s": 0.5,
            "questions_per_s": 6.0,
            "lacking_vision": 0.3,
            "batch_size": 8,
            "faults": {"outage_sinr_db": 0.0},
            "trains": True,
        },
    }
    file = tmp_path_factory.mktemp("crowd") / "crowd.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


@pytest.fixture(scope="session")
def emulated(crowd_file: Path, bucket: Callable[[str], str], machines: Machines) -> Path:
    """The copy on machine ``one`` of an emulation of 40 users that is kept on S3."""
    place = bucket("crowd")
    done = machines.tokcom("one", "emulate", crowd_file, "--users", 40, "--out", place)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3://studies/crowd/report/report.html" in done.stdout
    assert "secret" not in done.stdout
    return machines.copy("one")
