"""A study on an object store: kept there, taken up from there, its copy here dispensable."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from pyarrow.fs import FileSystem

from studies.execution.checkpoints import KeptCheckpoints
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.storage.store import _COMPLETE, MirroredStore, store_at
from studies.tables.columns import WALL_CLOCK_COLUMNS

from .conftest import Machines


@pytest.fixture
def store(
    bucket: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], MirroredStore]:
    """Makes stores of one study, each with a copy on a machine of its own."""
    machines = iter(range(9))

    def make() -> MirroredStore:
        monkeypatch.setenv("HOME", str(tmp_path / f"machine{next(machines)}"))
        return MirroredStore(bucket(tmp_path.name))

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
    several = [two.root / "results" / name for name in ("nothing.parquet", "a.parquet")]
    assert two.fetch_several(several) == several
    assert [file.exists() for file in several] == [False, True]
    assert [f.read_bytes() for f in two.fetch_all(two.root / "results").iterdir()] == [b"34"]
    two.remove(two.root / "results" / "a.parquet")
    assert not one.has(table)
    assert not two.fetch(two.root / "nothing").exists()


def test_a_result_that_another_machine_has_written_again_is_fetched_again(
    store: Callable[[], MirroredStore],
) -> None:
    """What is named by the hash of its content never changes, and is not asked for."""
    one, two = store(), store()
    results, artifacts = one.root / "results", one.root / "artifacts"
    for file in (results / "a", results / "b", artifacts / "net"):
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text("failed")
        one.keep(file)
    there = two.root / "results"
    for fetch in (lambda: two.fetch(there / "a"), lambda: two.fetch_all(there) / "a"):
        two.fetch_all(there)
        two.fetch(two.root / "artifacts" / "net")
        before = (there / "b").stat().st_ino
        for file in (results / "a", artifacts / "net"):
            file.write_text(f"ok {file.read_text()}")
            one.keep(file)
        assert fetch().read_text() == (results / "a").read_text()
        assert (two.root / "artifacts" / "net").read_text() == "failed"
        assert (there / "b").stat().st_ino == before
        assert one.fetch(results / "b").read_text() == "failed"


def test_a_result_of_the_same_size_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock of the machine that has the copy said."""
    machines = []
    for name in ("one", "two"):
        monkeypatch.setenv("HOME", str(tmp_path / name))
        machines.append(MirroredStore(f"file://{tmp_path}/kept"))
    one, two = machines
    file, there = (store.root / "results" / "a" for store in machines)
    file.parent.mkdir(parents=True)
    for content in ("0.25", "0.50"):
        file.write_text(content)
        one.keep(file)
        assert two.fetch(there).read_text() == content


def test_samples_of_another_study_at_the_same_place_are_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their files are named by the split alone; a machine may have those of a study before."""
    stores = []
    for name in ("driver", "node"):
        monkeypatch.setenv("HOME", str(tmp_path / name))
        stores.append(MirroredStore(f"file://{tmp_path}/kept"))
    driver, node = stores
    for content in ("old samples", "new samples, and more"):
        (tmp_path / "kept").mkdir()
        driver.begin()
        for name in ("samples/test.parquet", "references.json"):
            file = driver.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            driver.keep(file)
            assert node.fetch(node.root / name).read_text() == content
        shutil.rmtree(tmp_path / "kept")


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


def test_a_stage_goes_on_elsewhere_at_its_latest_checkpoint(
    store: Callable[[], MirroredStore],
) -> None:
    def checkpoints(store: MirroredStore) -> KeptCheckpoints:
        return KeptCheckpoints(store.root / "checkpoints" / "stage", store)

    def save(folder: Path) -> None:
        (folder / "weights").write_text(folder.name.split(".")[1])

    one, two, three = store(), store(), store()
    assert checkpoints(one).latest() is None
    for steps in (0, 50, 100):
        checkpoints(one).write([{"loss": 1.0}] * steps, save)
    latest = checkpoints(two).latest()
    assert latest is not None
    losses, folder = latest
    assert len(losses) == 100
    assert (folder / "weights").read_text() == "00000100"
    assert folder.is_relative_to(two.root)
    checkpoints(two).write([{"loss": 1.0}] * 150, save)
    latest = checkpoints(three).latest()
    assert latest is not None
    assert [f.name for f in latest[1].parent.iterdir()] == ["00000150"]
    checkpoints(three).clear()
    assert checkpoints(store()).latest() is None


def test_a_copy_of_what_is_gone_is_cleared(store: Callable[[], MirroredStore]) -> None:
    one = store()
    stale = one.root / "study.yaml"
    stale.parent.mkdir(parents=True)
    stale.write_text("name: old")
    one.begin()
    assert not stale.exists()


def test_the_study_is_that_of_the_machine_that_let_it_grow(
    store: Callable[[], MirroredStore],
) -> None:
    """Its rows would be removed as strangers otherwise."""
    one = store()
    file = one.root / "study.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("seeds: [0, 1]")
    one.keep(file)
    file.write_text("seeds: [0]")
    one.begin()
    assert file.read_text() == "seeds: [0, 1]"


def _table(place: str | Path, filesystem: FileSystem | None = None) -> pd.DataFrame:
    table = pd.read_parquet(place, filesystem=filesystem)
    return table.drop(columns=[*WALL_CLOCK_COLUMNS]).sort_values("method", ignore_index=True)


def test_a_study_on_s3_goes_on_elsewhere(
    emulated: Path, bucket: Callable[[str], str], machines: Machines
) -> None:
    """On a machine that has seen none of it, and with pools of their own; nothing is made twice."""
    wanted = _table(emulated / "results")
    folder = StudyFolder(bucket("crowd"))
    place, filesystem = folder.store.place(folder.results)
    assert_frame_equal(_table(place, filesystem), wanted)
    (cell,) = wanted.loc[wanted["method"] == "aligned", "cell"]
    folder.store.remove(folder.result(cell))
    assert len(_table(place, filesystem)) == len(wanted) - 1
    done = machines.tokcom("two", "study", "resume", bucket("crowd"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert_frame_equal(_table(place, filesystem), wanted)
    artifacts = [*(machines.copy("two") / "artifacts").iterdir()]
    assert artifacts
    assert all((own / _COMPLETE).exists() for own in artifacts)  # as only what is fetched has it


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


def test_a_flat_folder_is_kept_by_a_file_uri_and_no_file_half(tmp_path: Path) -> None:
    store = store_at(f"file://{tmp_path}/kept")
    (store.root / "artifacts" / "net").mkdir(parents=True)
    (store.root / "artifacts" / "net" / "w").write_text("x")
    store.keep(store.root / "artifacts" / "net")
    assert (tmp_path / "kept" / "artifacts" / "net" / "w").read_text() == "x"
    (tmp_path / "kept" / "results").mkdir()
    (tmp_path / "kept" / "results" / "cell-a.parquet.partial").write_text("PA")  # killed
    assert store.names(store.root / "results") == []
    shutil.rmtree(store.root)


@pytest.mark.parametrize("begins", [True, False])
def test_what_is_removed_from_the_store_is_made_again(begins: bool, tmp_path: Path) -> None:
    """Not taken from the copy of before, which is perhaps what was damaged.

    The driver's machine begins the study; others only write.
    """
    folder = StudyFolder(f"file://{tmp_path}/kept")
    folder.begin(study := Study(name="s"))
    (spec, *_) = Plan(study).features()
    with folder.artifacts.write(spec) as partial:
        (partial / "w").write_text("damaged")
    shutil.rmtree(tmp_path / "kept" / "artifacts" / spec.key)
    if begins:
        folder.begin(study)
    with folder.artifacts.write(spec) as partial:
        (partial / "w").write_text("made again")
    assert (tmp_path / "kept" / "artifacts" / spec.key / "w").read_text() == "made again"
    shutil.rmtree(folder.root)


def test_endpoints_of_one_bucket_have_copies_of_their_own() -> None:
    stores = [store_at(f"s3://b/s?endpoint_override={host}&region=x") for host in ("a", "b")]
    assert stores[0].root != stores[1].root
    assert str(stores[0]) == str(stores[1]) == "s3://b/s"
    own, same = (store_at(f"s3://b/s{end}?region=x") for end in ("", "/"))
    assert (own.lock, str(own)) == (same.lock, str(same))


def test_a_file_uri_is_a_place_as_well(tmp_path: Path) -> None:
    store = store_at(f"file://{tmp_path}/kept")
    store.root.mkdir(parents=True, exist_ok=True)
    (store.root / "a").write_text("x")
    store.keep(store.root / "a")
    assert (tmp_path / "kept" / "a").read_text() == "x"
    shutil.rmtree(store.root)
    assert store.fetch(store.root / "a").read_text() == "x"
    shutil.rmtree(store.root)
