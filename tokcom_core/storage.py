"""Atomic writing of files and folders, and its errors."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from .errors import first_line

if TYPE_CHECKING:
    from torch import Tensor

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
    """A disk is full, or ``filename`` cannot be written."""

    @classmethod
    def at(cls, number: int, file: str, reason: str = "") -> StorageError:
        """An error about ``file``; ``reason`` replaces the message of the error number."""
        return cls(number, reason or os.strerror(number), file)


class OtherWeightsError(ValueError):
    """A file holds other weights than are wanted from it."""


@contextmanager
def writing(file: Path) -> Iterator[None]:
    """Raises StorageError for failures of a block that writes a file or folder.

    Raises:
        StorageError: for a full disk or a place that cannot be written, even if a library reports
            this as an error of its own (safetensors, or Ray about another process).
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        number = _storage_errno(error)
        if number is None:
            raise
        if not isinstance(error, OSError):  # the full disk may be another one, such as Ray's
            raise StorageError.at(number, str(file), first_line(error)) from error
        name = error.filename
        if number in _REFUSED and not (name and Path(str(name)).is_relative_to(file.parent)):
            raise
        raise StorageError.at(number, str(name or file)) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Reports in one line which artifact a block cannot read, and the remedy.

    Raises:
        ValueError: for a damaged or missing file, or an intact one that holds other weights.
    """
    try:
        yield
    except OtherWeightsError as error:
        raise ValueError(
            f"{path} is of another network ({error}); load it into that one, or train this one"
        ) from None
    except (SafetensorError, OSError, EOFError, KeyError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            raise  # pyarrow's about damaged bytes have no number
        raise ValueError(
            f"{path} is damaged ({first_line(error)}); remove it, and 'tokcom study resume "
            "--retry-failed' makes it again"
        ) from None


def check_saved(saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Checks that a file holds exactly the weights that are wanted from it, in their shapes.

    Raises:
        OtherWeightsError: if some are missing or of another shape, or it holds others.
    """
    check_names(saved, wanted)
    check_shapes(saved, wanted)


def check_shapes(saved: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Checks that saved weights have the shapes of those that are wanted.

    Raises:
        OtherWeightsError: if one has not: a copy may spread it over the other without a word.
    """
    for name, weight in saved.items():
        if weight.shape != wanted[name].shape:
            shapes = f"{tuple(weight.shape)}, not {tuple(wanted[name].shape)}"
            raise OtherWeightsError(f"{name} has the shape {shapes}")


def check_names(saved: Iterable[str], wanted: Iterable[str]) -> None:
    """Checks that a file holds exactly the weights that are wanted from it, by their names.

    Raises:
        OtherWeightsError: if some are missing, or it holds others.
    """
    lacking, foreign = set(wanted) - set(saved), set(saved) - set(wanted)
    if lacking:
        raise OtherWeightsError(f"{len(lacking)} weights are missing, such as {min(lacking)}")
    if foreign:
        raise OtherWeightsError(f"{len(foreign)} weights are not its own, such as {min(foreign)}")


@contextmanager
def atomic_file(file: Path) -> Iterator[Path]:
    """Yields a temporary name that becomes ``file`` when the block succeeds.

    Raises:
        StorageError: for a full disk, or a folder that cannot be written.
    """
    partial = _partial(file)
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yields an empty temporary folder that becomes ``folder`` when the block succeeds.

    If another process has made ``folder`` in the meantime, that one stays: it may be in use.

    Raises:
        StorageError: for a full disk, or a folder that cannot be written.
    """
    partial = _partial(folder)
    with writing(folder):
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir(parents=True)
            yield partial
            try:
                partial.rename(folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def remove_partials(folder: Path) -> None:
    """Removes the incomplete files and folders that a killed process has left in a folder."""
    for partial in folder.glob(".*.partial"):
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """The temporary name of a file or folder, beside it; unique to this process."""
    return path.with_name(f".{path.name}.{os.getpid()}.partial")


def _storage_errno(error: Exception) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in (*_FULL, *_REFUSED) else None
    numbers = (n for n in (*_FULL, errno.EROFS) if os.strerror(n) in str(error))
    return next(numbers, None)


def is_full(error: OSError) -> bool:
    """Whether a disk is full, or a quota is used up."""
    return error.errno in _FULL


def complaint(error: OSError) -> str:
    """The path, reason and remedy of an OSError, in one line."""
    reason = error.strerror or first_line(error)
    place = f"{error.filename}: " if error.filename else ""
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{place}{reason}; {remedy}" if remedy else f"{place}{reason}"
