"""Work on many files in several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from joblib import Parallel, delayed

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_parallel(
    function: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None
) -> Iterator[Result]:
    """Yields the results in order; ``workers`` processes, by default one for each core.

    joblib's own processes do not run the user's script anew, so that a plain script without a
    main guard may call this.
    """
    pool = Parallel(n_jobs=workers or os.cpu_count() or 1, return_as="generator", batch_size=8)
    yield from pool(delayed(function)(job) for job in jobs)
