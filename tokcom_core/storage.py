"""What the operating system says against writing a file, whoever hears it first."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_REMEDIES = {
    **dict.fromkeys(_FULL, "make room"),
    **dict.fromkeys(_REFUSED, "make it accessible or choose another place"),
    **dict.fromkeys(
        (errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENOENT), "choose another place"
    ),
}


class StorageError(OSError):
    """A disk is full, or a place cannot be written; ``filename`` is what should be written."""

    @classmethod
    def at(cls, number: int, file: str, reason: str = "") -> StorageError:
        """``reason`` is what was said where that tells more than the number."""
        return cls(number, reason or os.strerror(number), file)


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Around the writing of a file or folder.

    Raises:
        StorageError: for a full disk or a place that cannot be written, also where a library says
            so in an error of its own (safetensors, or Ray about another process).
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        number = _storage_errno(error)
        if number is None:
            raise
        if not isinstance(error, OSError):  # it may be another disk: Ray's, say
            raise StorageError.at(number, str(file), _first_line(error)) from error
        name = error.filename
        if number in _REFUSED and not (name and Path(str(name)).is_relative_to(file.parent)):
            raise
        raise StorageError.at(number, str(name or file)) from error


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yields a temporary name that becomes ``file`` when the block succeeds.

    Raises:
        StorageError: for a full disk, or a folder that cannot be written.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def _storage_errno(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in (*_FULL, *_REFUSED) else None
    told = (n for n in (*_FULL, errno.EROFS) if os.strerror(n) in str(error))
    return next(told, None)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def complaint(error: OSError) -> str:
    """One line: path, reason, remedy."""
    reason = error.strerror or _first_line(error)
    place = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{place}{reason}; {remedy}" if remedy else f"{place}{reason}"
