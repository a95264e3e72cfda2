"""Sizes of the media's own files, for streams that upload them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..datasets.parallel import run_parallel
from .base import Task

_Job = tuple[Task, Path, str, str]


def upload_table(task: Task, root: Path, media_ids: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """A row for each of the media: ``media_id``, and the bits of each medium's own file.

    Args:
        task: Task that knows the files.
        root: Data folder.
        media_ids: Media of each split.

    Raises:
        ValueError: for a file that is missing or damaged, a task without files, or an id that clips
            of two data sets have.
    """
    datasets: dict[str, str] = {}
    for split, names in media_ids.items():
        dataset = task.dataset(split)
        for name in names:
            if (other := datasets.setdefault(name, dataset)) != dataset:
                raise ValueError(
                    f"{other} and {dataset} both have {name!r}, and uploads are known by their "
                    "names; rename the clips of one of them"
                )
    first = {name: split for split, names in reversed(list(media_ids.items())) for name in names}
    jobs = [(task, root, split, name) for name, split in first.items()]
    rows = [
        {"media_id": name, **bits}
        for name, bits in zip(first, run_parallel(_upload_bits, jobs, workers=None), strict=True)
    ]
    return pd.DataFrame(rows)


def _upload_bits(job: _Job) -> dict[str, int]:
    task, root, split, media_id = job
    return task.upload_bits(root, split, media_id)
