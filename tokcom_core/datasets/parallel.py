"""Work on many files in several processes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from joblib import Parallel, delayed

Job = TypeVar("Job")
Result = TypeVar("Result")
Plan = TypeVar("Plan")


def run_parallel(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Iterator[Result]:
    """Yields the results in order; ``workers`` processes, by default one for each CPU.

    joblib's own processes do not run the user's script again, so that a plain script without a
    main guard may call this. A caller that stops early, for example after Ctrl-C, is not warned of
    unfinished tasks.
    """
    warnings.filterwarnings("ignore", r"\d+ tasks .* been", UserWarning, r"joblib\.parallel")
    pool = Parallel(n_jobs=workers or -1, return_as="generator", batch_size=8)
    yield from pool(delayed(function)(job) for job in jobs)


def make_missing(
    make: Callable[[tuple[Path, Plan]], None],
    root: Path,
    plans: Mapping[Path, Plan],
    workers: int | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Makes those files of a data set below ``root`` that are not there yet.

    Args:
        make: Makes the file of a plan below a root.
        root: Folder of the data set.
        plans: Plan of each file.
        workers: Number of processes, by default one for each core.
        progress: Called with the number of files that are already there, then with 1 for each file
            made.
    """
    missing = [plan for file, plan in plans.items() if not file.exists()]
    if progress is not None:
        progress(len(plans) - len(missing))
    for _ in run_parallel(make, [(root, plan) for plan in missing], workers):
        if progress is not None:
            progress(1)
