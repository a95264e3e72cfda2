"""Limits of this process: of memory, also where a container sets it, and of open files."""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def memory_bytes() -> int:
    """Memory of the machine, or of its container."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    first_version = _CGROUPS / "memory" / "memory.limit_in_bytes"
    limits = (*_words("memory.max"), *_first_words(first_version))
    return min([physical, *(int(words[0]) for words in limits if words[0].isdigit())])


def open_files() -> float:
    """Open files that a process may have once Ray has raised the limit as far as it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if resource.RLIM_INFINITY in (soft, hard) else max(soft, hard)


def _words(name: str) -> Iterator[list[str]]:
    """Words of a file of cgroups v2, for this process's group and all groups above it."""
    for line in _lines(_OWN_CGROUP):
        if line.startswith("0::/"):
            group = _CGROUPS / line.removeprefix("0::/")
            for folder in (group, *group.parents):
                if folder.is_relative_to(_CGROUPS):
                    yield from _first_words(folder / name)


def _first_words(file: Path) -> Iterator[list[str]]:
    """Words of a file's first line; nothing if there is no such file."""
    yield from (line.split() for line in _lines(file)[:1])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []
