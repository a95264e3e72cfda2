"""Digests of what a study reads from outside the package and names by its place alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tokcom_core.checkpoints import POCKETS, is_of_hub

from .modules import module_source, modules_of
from .study import Study

_ENDS_BYTES = 2**20
"""Bytes at each end of a file of weights that count, beside its size: weights have gigabytes."""


def digests_of(*studies: Study) -> dict[str, str]:
    """Digests of modules of the user's own, folders of checkpoints, and files of airs, by name.

    What several studies read is digested once. Folders that are not there are left out: what reads
    them refuses them.

    Raises:
        ValueError: if a module is gone.
    """
    modules = dict.fromkeys(name.partition(".")[0] for name in modules_of(*studies))
    digests = {name: _code_digest(module_source(name)) for name in modules}
    names = {checkpoint.name: None for study in studies for checkpoint in study.checkpoints}
    folders = {
        name: Path(name).expanduser()
        for name in names
        if name not in POCKETS and not is_of_hub(name)
    }
    digests |= {name: _ends_digest(folder) for name, folder in folders.items() if folder.is_dir()}
    files = {file: None for study in studies for air in study.airs for file in air.files()}
    return digests | {str(file): _digest([file]) for file in files if file.is_file()}


def _code_digest(source: Path) -> str:
    """Digest of a module's file, or of all Python files of a package."""
    return _digest(sorted(source.rglob("*.py")) if source.is_dir() else [source], source.parent)


def _digest(files: list[Path], base: Path = Path("/")) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(f"{file.relative_to(base)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _ends_digest(folder: Path) -> str:
    """Digest of the names, sizes and ends of all files in a folder but hidden ones."""
    digest = hashlib.blake2b(digest_size=8)
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        if any(part.startswith(".") for part in file.relative_to(folder).parts):
            continue  # of tools, such as .git
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)}\0{size}\0".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_ENDS_BYTES))
            stream.seek(max(0, size - _ENDS_BYTES))
            digest.update(stream.read(_ENDS_BYTES))
    return digest.hexdigest()
