"""What this machine has for a study: GPU, CPUs, memory, disks, open files."""

from __future__ import annotations

import math
import os
import shutil
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from joblib import cpu_count

from .findings import Finding
from .limits import memory_bytes, open_files

_GB = 1e9
_TRIAL_BYTES = 2.5 * _GB
"""Memory of a trial and its part of Ray (docs/emulation.md, Speed)."""
_MIN_FREE_BYTES = 2 * _GB
"""The quickstart's data are 0.6 GB; its artifacts and Ray's files come on top."""
_MAX_DISK_USE = 0.95
"""Ray's own limit: on a fuller disk it spills no objects."""
_SHARED_MEMORY = Path("/dev/shm")
_OBJECT_STORE_FRACTION, _MAX_SLOW_STORE_BYTES = 0.3, 10 * _GB
"""Ray's own: the part of the memory that the object store takes, and the size up to which it lies
on the disk if ``/dev/shm`` is too small."""
_MIN_OPEN_FILES, _GOOD_OPEN_FILES = 4096, 8192
"""Ray's own limits: it warns below the first and recommends the second. Users of an emulation need
no open files: they live in as many processes as there are CPUs."""


def machine_findings(trial_cpus: float = 1.0) -> Iterator[Finding]:
    """All that a study may run short of.

    Args:
        trial_cpus: Number of CPUs that a trial of the study takes.
    """
    yield _gpu()
    yield _cpus()
    yield _memory(trial_cpus)
    yield _current_folder()
    yield _ray_folder()
    yield _shared_memory()
    yield _open_files()


def _gpu() -> Finding:
    import torch

    from tokcom_core.devices import pick_dtype

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    if not available:
        built = torch.version.cuda or torch.version.hip
        reason = str(caught[0].message).partition("\n")[0] if caught else "none that torch can use"
        return Finding(
            "GPU",
            reason if built else "none: torch is built without CUDA",
            cost="checkpoints of billions of weights are slow",
            remedy="a machine with a GPU, and torch built for it (pytorch.org)",
        )
    cards = Counter(
        (card.name, card.total_memory)
        for card in map(torch.cuda.get_device_properties, range(torch.cuda.device_count()))
    )
    dtype = str(pick_dtype(torch.device("cuda"))).removeprefix("torch.")
    named = (f"{count} x {name}, {_size(memory)}" for (name, memory), count in cards.items())
    return Finding("GPU", f"{'; '.join(named)}; {dtype}")


def _cpus() -> Finding:
    usable, every = cpu_count(), os.cpu_count() or 1
    limited = f" of {every}, by the container's limit" if usable < every else ""
    return Finding("CPUs", f"{usable}{limited}")


def _memory(trial_cpus: float) -> Finding:
    memory, every = memory_bytes(), cpu_count()
    fitting, at_once = max(1, int(memory / _TRIAL_BYTES)), int(every / trial_cpus)
    if fitting >= at_once:
        return Finding("memory", _size(memory))
    return Finding(
        "memory",
        _size(memory),
        cost=f"{at_once} trials at once may not fit: each takes up to {_size(_TRIAL_BYTES)}",
        remedy=f"--set resources.cpu={math.ceil(every / fitting)}",
    )


def _current_folder() -> Finding:
    return _disk("disk, this folder", Path.cwd(), "--out DIR, on another disk")


def _ray_folder() -> Finding:
    """The disk of Ray's folder, which Ray needs; it spills no objects to an almost full disk."""
    root = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp")
    remedy = "export RAY_TMPDIR=DIR, on another disk"
    finding = _disk("disk, Ray's folder", root / "ray", remedy, needed=True)
    usage = shutil.disk_usage(_existing(root))
    if not finding.cost and usage.free < (1 - _MAX_DISK_USE) * usage.total:
        cost = f"Ray spills no objects: the disk is over {_MAX_DISK_USE:.0%} full"
        return Finding(finding.subject, finding.found, cost, remedy)
    return finding


def _disk(subject: str, folder: Path, remedy: str, needed: bool = False) -> Finding:
    """Free room for a folder that may not exist yet; ``needed`` if it must be writable."""
    existing = _existing(folder)
    if not os.access(existing, os.W_OK | os.X_OK):
        cost = "studies cannot be run here"
        return Finding(subject, f"{existing} cannot be written", cost, remedy, needed)
    free = shutil.disk_usage(existing).free
    found = f"{_size(free)} free in {folder}"
    if free < _MIN_FREE_BYTES:
        return Finding(subject, found, "a study may run out of room; it can be resumed", remedy)
    return Finding(subject, found)


def _existing(folder: Path) -> Path:
    """The folder itself, or the first of those above it that exists.

    What is in a folder that may not be searched counts as not there.
    """
    return next(at for at in (folder, *folder.absolute().parents) if os.path.exists(at))


def _shared_memory() -> Finding:
    subject, store = str(_SHARED_MEMORY), _OBJECT_STORE_FRACTION * memory_bytes()
    needed = min(store, _MAX_SLOW_STORE_BYTES)
    free = shutil.disk_usage(_SHARED_MEMORY).free if _SHARED_MEMORY.is_dir() else 0
    if free >= needed:
        return Finding(subject, f"{_size(free)} free")
    gigabytes = math.ceil(needed / 2**30)
    return Finding(
        subject,
        f"{_size(free)} free, of {_size(needed)} for Ray's object store",
        cost="Ray keeps objects on the disk: engine ray and emulations are slower",
        remedy=f"docker run --shm-size={gigabytes}g, or "
        f"mount -o remount,size={gigabytes}g {_SHARED_MEMORY}",
    )


def _open_files() -> Finding:
    limit = open_files()
    found = "no limit" if limit == math.inf else f"up to {limit:g}"
    if limit >= _MIN_OPEN_FILES:
        return Finding("open files", found)
    return Finding(
        "open files",
        found,
        cost="Ray's processes may lose each other where they are many",
        remedy=f"ulimit -n {_GOOD_OPEN_FILES}",
    )


def _size(count: float) -> str:
    """Bytes as ``12.3 GB`` or ``512 MB``."""
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / 1e6:.0f} MB"
