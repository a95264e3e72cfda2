"""Files and folders are whole or absent; a full disk is one kind of error, never a dead process."""

from __future__ import annotations

import errno
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from tokcom_core.datasets import media
from tokcom_core.datasets.layout import sound_file
from tokcom_core.datasets.minimusic.write import write_minimusic
from tokcom_core.encoders import Ast
from tokcom_core.features import Sliding, write_features
from tokcom_core.storage import (
    StorageError,
    atomic_file,
    atomic_folder,
    check_saved,
    complaint,
    reading,
    remove_partials,
    writing,
)

from ..conftest import Disk


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_or_folder_is_whole_or_absent(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_file(tmp_path / "deep" / "file") as partial:
        partial.write_text("half")
        raise RuntimeError
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "deep" / "folder") as partial:
        (partial / "data").write_text("half")
        raise RuntimeError
    assert _names(tmp_path / "deep") == []
    for content in ("first", "second"):
        with atomic_file(tmp_path / "file") as partial:
            partial.write_text(content)
        assert (tmp_path / "file").read_text() == content
    with atomic_folder(tmp_path / "folder") as partial:
        (partial / "data").write_text("whole")
    assert _names(tmp_path / "folder") == ["data"]
    assert _names(tmp_path) == ["deep", "file", "folder"]


def test_a_folder_that_another_process_has_made_meanwhile_stays(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "folder") as partial:
        (partial / "data").write_text("ours")
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "data").write_text("theirs")
    assert (tmp_path / "folder" / "data").read_text() == "theirs"
    assert _names(tmp_path) == ["folder"]


def test_leftovers_of_a_killed_process_are_cleared(tmp_path: Path) -> None:
    (tmp_path / ".tuning-1.99.partial").mkdir()
    (tmp_path / ".x.parquet.99.partial").write_text("half")
    (tmp_path / "kept").mkdir()
    remove_partials(tmp_path)
    assert _names(tmp_path) == ["kept"]


@pytest.fixture
def small_disk(disk: Disk) -> Path:
    return disk(128)


def test_every_library_says_the_same_of_a_full_disk(small_disk: Path) -> None:
    file = small_disk / "a"
    values = np.random.default_rng(0).normal(size=100_000)
    writers = (
        lambda: save_file({"a": torch.from_numpy(values)}, file),
        lambda: pq.write_table(pa.table({"a": values}), file),
        lambda: file.write_bytes(values.tobytes()),
    )
    for write in writers:
        with pytest.raises(StorageError) as caught, writing(file):
            write()
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))
        line = complaint(caught.value)
        assert line.startswith(f"{file}: ") and line.endswith("; make room")
        assert "No space left on device" in line
        file.unlink(missing_ok=True)


def test_tokens_that_do_not_fit_are_an_error_and_no_dead_process(
    small_disk: Path, minimusic: Path
) -> None:
    root = minimusic / "MUSIC-AVQA"
    clips = [file.stem for file in sorted((root / "video").glob("*.mp4"))]
    sounds = partial(sound_file, root)
    with pytest.raises(OSError, match="No space left"):
        write_features(small_disk, Ast().build(), sounds, clips, Sliding(counts=(50,)))


def test_clips_stop_where_the_disk_is_full(small_disk: Path) -> None:
    with pytest.raises(StorageError, match="No space left") as caught:
        write_minimusic(small_disk, 100, 0, workers=1)
    assert Path(caught.value.filename).is_relative_to(small_disk)


def test_a_full_disk_does_not_make_clips_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video").mkdir()
    (tmp_path / "video" / "a.mp4").touch()

    def extract(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(media, "extract", extract)
    with pytest.raises(StorageError):
        media.prepare(tmp_path, workers=1)


def test_what_is_no_matter_of_storage_passes_unchanged(tmp_path: Path) -> None:
    foreign = PermissionError(errno.EACCES, "Permission denied", "/elsewhere/weights")
    for error in (ValueError("no"), FileNotFoundError(errno.ENOENT, "gone", "a"), foreign):
        with pytest.raises(type(error)) as caught, writing(tmp_path / "a"):
            raise error
        assert caught.value is error
    nameless = PermissionError(errno.EPERM, "Operation not permitted")  # of a socket, say
    with pytest.raises(PermissionError), writing(tmp_path / "a"):
        raise nameless
    own = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".a.partial"))
    with pytest.raises(StorageError), writing(tmp_path / "a"):
        raise own


def test_another_disk_that_is_full_is_told_by_its_own_words(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught, writing(tmp_path / "a"):
        raise RuntimeError("/tmp/ray/spill: No space left on device\nand much more")
    assert "a: /tmp/ray/spill: No space left on device; make room" in complaint(caught.value)


def test_it_survives_the_way_from_another_process() -> None:
    error = pickle.loads(pickle.dumps(StorageError.at(errno.ENOSPC, "/a")))
    assert (type(error), error.errno, error.filename) == (StorageError, errno.ENOSPC, "/a")


@pytest.mark.parametrize(
    "error",
    [
        SafetensorError("header"),
        FileNotFoundError("gone"),
        KeyError("w"),
        EOFError(),
        OSError("Corrupt snappy compressed data."),  # pyarrow's, without a number
    ],
)
def test_what_cannot_be_read_is_named_with_its_remedy(error: Exception, tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=f"^{tmp_path} is damaged .*; remove it, and"),
        reading(tmp_path),
    ):
        raise error


def test_a_disk_that_fails_does_not_make_a_file_damaged(tmp_path: Path) -> None:
    failure = OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(OSError, match="Input/output error") as caught, reading(tmp_path):
        raise failure
    assert caught.value is failure


@pytest.mark.parametrize(
    ("saved", "told"),
    [
        ({"a": 2}, "1 weights are missing, such as b"),
        ({"a": 2, "b": 2, "c": 2}, "1 weights are not its own"),
        ({"a": 2, "b": 1}, r"b has the shape \(1,\), not \(2,\)"),
    ],
)
def test_weights_of_another_network_are_not_called_damaged(
    saved: dict[str, int], told: str, tmp_path: Path
) -> None:
    found = {name: torch.zeros(size) for name, size in saved.items()}
    said = rf"^{tmp_path} is of another network \({told}.*\); load it into that one, or train this"
    with pytest.raises(ValueError, match=said), reading(tmp_path):
        check_saved(found, {"a": torch.zeros(2), "b": torch.zeros(2)})
