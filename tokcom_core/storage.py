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
    def at(cls, number: int, file: str) -> StorageError:
        return cls(number, os.strerror(number), file)


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
        name = getattr(error, "filename", None) or file
        elsewhere = not Path(str(name)).is_relative_to(file.parent)
        if number is None or (number in _REFUSED and elsewhere):
            raise
        raise StorageError.at(number, str(name)) from error


def _storage_errno(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in (*_FULL, *_REFUSED) else None
    told = (n for n in (*_FULL, errno.EROFS) if os.strerror(n) in str(error))
    return next(told, None)


def complaint(error: OSError) -> str:
    """One line: path, reason, remedy."""
    reason = error.strerror or str(error).strip().partition("\n")[0]
    place = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{place}{reason}; {remedy}" if remedy else f"{place}{reason}"
