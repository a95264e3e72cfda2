"""Measures what work takes, for estimates of later studies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..plan.workload import Usage, Workload
from ..storage.folder import StudyFolder
from ..storage.usage import size_of, write_usage


@contextmanager
def recording_usage(
    work: Workload, folder: StudyFolder, name: str, places: Sequence[Path], whole: bool
) -> Iterator[None]:
    """Records what the work of a block takes, once the block has succeeded.

    Args:
        work: The work.
        folder: Folder of the study.
        name: Name of the work in the study.
        places: Files and folders that it makes.
        whole: Whether nothing of it was there before; otherwise nothing is recorded.
    """
    start = time.monotonic()
    yield
    if whole:
        seconds = time.monotonic() - start
        write_usage(folder, name, Usage(work=work, seconds=seconds, bytes=size_of(places)))
