"""A study on an object store: kept there, taken up from there, its copy here dispensable."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import pandas as pd
import pytest
from moto.server import ThreadedMotoServer
from pandas.testing import assert_frame_equal

from studies.folder import StudyFolder
from studies.store import MirroredStore, store_at
from studies.table import WALL_CLOCK_COLUMNS

from .test_emulate import _file

LIMIT_S = 600

Tokcom = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URI of an empty bucket of an S3 server on this machine, its endpoint included."""
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
    yield f"s3://tokcom:secret@studies/{{}}?scheme=http&endpoint_override={host}%3A{port}&region=us-east-1"
    server.stop()


@pytest.fixture
def store(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], MirroredStore]:
    """Makes stores of one study, each with a copy on a machine of its own."""
    machines = iter(range(9))

    def make() -> MirroredStore:
        monkeypatch.setenv("HOME", str(tmp_path / f"machine{next(machines)}"))
        return MirroredStore(bucket.format(tmp_path.name))

    return make


def test_what_is_kept_is_seen_from_everywhere(store: Callable[[], MirroredStore]) -> None:
    one = store()
    two = store()
    assert one.root != two.root
    table, folder = one.root / "results" / "a.parquet", one.root / "artifacts" / "net"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "weights").write_bytes(b"12")
    table.parent.mkdir()
    table.write_bytes(b"34")
    there = two.root / "artifacts" / "net"
    assert not two.has(there)
    one.keep(folder)
    one.keep(table)
    assert two.has(there)
    assert not there.exists()
    assert (two.fetch(there) / "adapter" / "weights").read_bytes() == b"12"
    assert [f.read_bytes() for f in two.fetch_files(two.root / "results").iterdir()] == [b"34"]
    two.remove(two.root / "results" / "a.parquet")
    assert not one.has(table)
    assert not two.fetch(two.root / "nothing").exists()


def test_a_folder_half_copied_is_not_there(store: Callable[[], MirroredStore]) -> None:
    """Whoever died while copying has kept nothing; the next one copies it whole."""
    one, two = store(), store()
    made = one.root / "artifacts" / "net"
    made.mkdir(parents=True)
    (made / "spec.json").write_text("{}")
    place, filesystem = one.place(made)
    assert filesystem is not None
    with filesystem.open_output_stream(f"{place}/spec.json") as stream:
        stream.write(b"{")
    assert not two.has(two.root / "artifacts" / "net")
    one.keep(made)
    assert (two.fetch(two.root / "artifacts" / "net") / "spec.json").read_text() == "{}"


def test_a_copy_of_what_is_gone_is_cleared(store: Callable[[], MirroredStore]) -> None:
    one = store()
    stale = one.root / "study.yaml"
    stale.parent.mkdir(parents=True)
    stale.write_text("name: old")
    one.begin()
    assert not stale.exists()


def _table(folder: Path) -> pd.DataFrame:
    table = pd.read_parquet(folder)
    return table.drop(columns=[*WALL_CLOCK_COLUMNS]).sort_values("method", ignore_index=True)


def test_a_study_lives_on_s3_and_goes_on_elsewhere(
    bucket: str, minimusic: Path, tmp_path: Path
) -> None:
    """Emulated with pools of their own; then taken up on a machine that has seen none of it."""
    file = _file(tmp_path / "crowd.yaml", minimusic)
    uri = bucket.format("crowd")

    def tokcom(machine: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        home = tmp_path / machine
        home.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "studies.cli", *arguments],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env={**os.environ, "HOME": str(home)},
        )

    ray = ("--set", "engine=ray", "--set", "emulate.pools=2")
    done = tokcom("one", "emulate", str(file), "--users", "40", "--out", uri, *ray)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "s3://studies/crowd/report/report.html" in done.stdout
    assert "secret" not in done.stdout
    (copy,) = (tmp_path / "one" / ".cache" / "tokcom" / "studies").iterdir()
    wanted = _table(copy / "results")
    assert {"results", "devices", "curves", "artifacts", "journals"} <= {
        f.name for f in copy.iterdir()
    }

    folder = StudyFolder(uri)
    place, filesystem = folder.store.place(folder.results)
    assert_frame_equal(_on(place, filesystem), wanted)
    lost = next(
        f for f in (copy / "results").iterdir() if "aligned" in set(pd.read_parquet(f)["method"])
    )
    folder.store.remove(folder.root / "results" / lost.name)

    again = tokcom("two", "study", "resume", uri)
    assert again.returncode == 0, again.stdout + again.stderr
    assert_frame_equal(_on(place, filesystem), wanted)
    (other,) = (tmp_path / "two" / ".cache" / "tokcom" / "studies").iterdir()
    assert not (other / "data").exists()
    made = {f.name for f in (copy / "artifacts").iterdir()}
    assert {f.name for f in (other / "artifacts").iterdir()} <= made


def _on(place: str, filesystem: object) -> pd.DataFrame:
    table = pd.read_parquet(place, filesystem=filesystem)
    return table.drop(columns=[*WALL_CLOCK_COLUMNS]).sort_values("method", ignore_index=True)


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("s4://bucket/study", "take a folder or a URI such as s3://BUCKET/STUDY"),
        ("s3://studies/none?scheme=http&endpoint_override=127.0.0.1%3A1", "cannot be read"),
    ],
)
def test_a_place_that_cannot_be_is_one_line(place: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as error:
        store_at(place).begin()
    assert "\n" not in str(error.value)


def test_a_file_uri_is_a_place_as_well(minimusic: Path, tmp_path: Path) -> None:
    store = store_at(f"file://{tmp_path}/kept")
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "a").write_text("x")
    store.keep(store.root / "a")
    assert (tmp_path / "kept" / "a").read_text() == "x"
    shutil.rmtree(store.root)
    assert store.fetch(store.root / "a").read_text() == "x"
    shutil.rmtree(store.root)
