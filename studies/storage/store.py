"""Stores of a study's folder: local, or remote with a copy on this machine."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyarrow import ArrowInvalid
from pyarrow.fs import FileInfo, FileSelector, FileSystem, FileType, LocalFileSystem, copy_files

from tokcom_core.storage import atomic_file, atomic_folder

_COMPLETE = ".complete"
"""Marks a folder that has been copied completely; object stores cannot rename."""
_PARTIAL = ".partial"
"""Ends the name of a file that is being written where others would see it half-written."""
_ATOMIC = ("s3", "gcs", "abfs")
"""File systems on which a file is there once it is whole."""
_CHANGING = ("", "results", "samples")
"""Folders whose files are not named by a hash of all that is in them, so that another machine, or
another study at the same URI, may write them again."""


class Store:
    """Where a study's folder is kept: here, in a folder that all machines share."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def shared(self) -> bool:
        """Whether all machines see the same folder under the same path."""
        return True

    @property
    def lock(self) -> Path:
        """File that one run at a time locks."""
        return self.root / ".lock"

    def __str__(self) -> str:
        return str(self.root)

    def begin(self) -> None:
        """Called before anything is written."""

    def has(self, path: Path) -> bool:
        """Whether a file or folder has been kept."""
        return path.exists()

    def fetch(self, path: Path) -> Path:
        """Fetches a kept file or folder, if it is not here; returns its path."""
        return path

    def fetch_several(self, paths: Sequence[Path]) -> list[Path]:
        """Fetches each of these as :meth:`fetch` does."""
        return list(paths)

    def names(self, folder: Path) -> list[str]:
        """Names of everything that has been kept of a folder."""
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def fetch_all(self, folder: Path) -> Path:
        """Fetches everything that has been kept of a folder."""
        return folder

    def fetch_exactly(self, folder: Path) -> Path:
        """Fetches a folder that this process alone writes to, and removes what is not kept of it.

        That is what another machine has removed, or what was never uploaded.
        """
        return folder

    def keep(self, path: Path) -> None:
        """Keeps a file or folder that has been made here."""

    def remove(self, path: Path) -> None:
        """Removes a kept file or folder."""
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.exists():
            path.unlink(missing_ok=True)

    def place(self, path: Path) -> tuple[str, FileSystem | None]:
        """Place where a file or folder is kept, for writers that bypass the store."""
        return str(path), None


class MirroredStore(Store):
    """A folder on any file system that pyarrow knows; what is kept there is copied.

    Files are written in a copy below the user's cache folder, and uploaded when they are complete.
    Only what has been uploaded counts as kept.

    Args:
        uri: URI such as ``s3://bucket/study``; see :meth:`pyarrow.fs.FileSystem.from_uri`.

    Raises:
        ValueError: for a URI that pyarrow does not know.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        parts = urlsplit(uri)
        self._shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        told = f"{self._shown}?{parts.query}" if parts.query else self._shown  # its endpoint
        digest = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
        super().__init__(Path.home() / ".cache" / "tokcom" / "studies" / digest)
        self._connect()

    @property
    def shared(self) -> bool:
        return False

    @property
    def lock(self) -> Path:
        """A file on this machine alone; it is beside the copies, since those may be cleared."""
        return self.root.parents[1] / "locks" / self.root.name

    def __str__(self) -> str:
        return self._shown

    def __getstate__(self) -> dict[str, Any]:
        return {"_uri": self._uri, "_shown": self._shown, "root": self.root}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._connect()

    def begin(self) -> None:
        try:
            found = self._fs.get_file_info(FileSelector(self._base, allow_not_found=True))
        except OSError as error:
            raise ValueError(f"{self} cannot be read: {' '.join(str(error).split())}") from None
        if not found:
            shutil.rmtree(self.root, ignore_errors=True)
        for info in found:  # the study itself, which another machine may have let grow
            copy = self.root / info.base_name
            if copy.exists():
                self._refresh(copy, info)

    def has(self, path: Path) -> bool:
        there = self._there(path)
        kind, whole = (
            info.type for info in self._fs.get_file_info([there, f"{there}/{_COMPLETE}"])
        )
        return bool(kind == FileType.File or whole == FileType.File)

    def fetch(self, path: Path) -> Path:
        if not path.exists():
            if self.has(path):
                self._copy(path)
        elif self._changes(path):
            self._refresh(path, self._fs.get_file_info(self._there(path)))
        return path

    def fetch_several(self, paths: Sequence[Path]) -> list[Path]:
        with ThreadPoolExecutor() as threads:  # each waits for the network
            return list(threads.map(self.fetch, paths))

    def _refresh(self, path: Path, kept: FileInfo) -> None:
        """Copies a file here again if another machine has written it since."""
        if kept.type == FileType.File and _version(kept) != _version_here(path):
            self._copy(path)

    def _copy(self, path: Path) -> None:
        """Copies a kept file or folder here."""
        kept = self._fs.get_file_info(self._there(path))
        is_folder = kept.type == FileType.Directory
        with (atomic_folder if is_folder else atomic_file)(path) as partial:
            copy_files(
                self._there(path),
                str(partial),
                source_filesystem=self._fs,
                destination_filesystem=LocalFileSystem(),
            )
            if self._changes(path):
                _set_version(partial, kept)

    def names(self, folder: Path) -> list[str]:
        return [info.base_name for info in self._list(folder)]

    def fetch_all(self, folder: Path) -> Path:
        for kept in self._list(folder):
            path = folder / kept.base_name
            if not path.exists():
                self.fetch(path)
            elif self._changes(path):
                self._refresh(path, kept)
        return folder

    def fetch_exactly(self, folder: Path) -> Path:
        kept = set(self.names(folder))
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.name not in kept:
                super().remove(path)
        return self.fetch_all(folder)

    def keep(self, path: Path) -> None:
        there = self._there(path)
        whole = path.is_dir() or self._fs.type_name in _ATOMIC
        written = there if whole else f"{there}{_PARTIAL}"
        self._fs.create_dir(there if path.is_dir() else there.rpartition("/")[0], recursive=True)
        copy_files(
            str(path),
            written,
            source_filesystem=LocalFileSystem(),
            destination_filesystem=self._fs,
        )
        if not whole:
            self._fs.move(written, there)
        if path.is_dir():
            with self._fs.open_output_stream(f"{there}/{_COMPLETE}"):
                pass
        elif self._changes(path):
            _set_version(path, self._fs.get_file_info(there))

    def remove(self, path: Path) -> None:
        super().remove(path)
        there = self._there(path)
        if self._fs.get_file_info(there).type == FileType.Directory:
            self._fs.delete_dir(there)
        elif self.has(path):
            self._fs.delete_file(there)

    def place(self, path: Path) -> tuple[str, FileSystem | None]:
        return self._there(path), self._fs

    def _connect(self) -> None:
        try:
            self._fs, base = FileSystem.from_uri(self._uri)
        except (ArrowInvalid, NotImplementedError, OSError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(
                f"{self}: {reason}; take a folder or a URI such as s3://BUCKET/STUDY"
            ) from None
        self._base = base.rstrip("/")

    def _list(self, folder: Path) -> list[FileInfo]:
        """What has been kept of a folder."""
        selector = FileSelector(self._there(folder), allow_not_found=True)
        found: list[FileInfo] = self._fs.get_file_info(selector)
        return [info for info in found if not info.base_name.endswith(_PARTIAL)]

    def _changes(self, path: Path) -> bool:
        """Whether a file may be written again, unlike all that is named by its hash."""
        return path.parent in [self.root / name for name in _CHANGING]

    def _there(self, path: Path) -> str:
        return f"{self._base}/{path.relative_to(self.root).as_posix()}"


def _version(kept: FileInfo) -> tuple[int, int]:
    """Size of a kept file, and when it was kept, in ns."""
    return kept.size, kept.mtime_ns or 0


def _version_here(path: Path) -> tuple[int, int]:
    """Size and time of the copy on this machine, as :func:`_set_version` has set it."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _set_version(path: Path, kept: FileInfo) -> None:
    """Gives a copy the time of the kept file, so that clocks need not agree."""
    _, time_ns = _version(kept)
    os.utime(path, ns=(time_ns, time_ns))


def store_at(place: str | Path) -> Store:
    """The store of a folder or URI.

    Raises:
        ValueError: for a URI that pyarrow does not know.
    """
    if "://" in str(place):
        return MirroredStore(str(place))
    return Store(Path(place))
