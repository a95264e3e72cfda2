"""Checks of the data for paper 1's system, before anything is trained."""

from __future__ import annotations

import logging
from pathlib import Path

from ...datasets.media import read_sampling
from ...tasks.base import Task

logger = logging.getLogger(__name__)


def warn_of_sampling(task: Task, root: Path) -> None:
    """Warns if a data set holds evenly spaced frames, where the first ones are wanted."""
    for dataset in dict.fromkeys(task.dataset(split) for split in task.splits):
        sampling = read_sampling(root / dataset)
        if sampling is not None and sampling.rate_hz is None:
            logger.warning(
                "models.frames: first, but %s has %s; 'tokcom data prepare --rate 0.6' takes "
                "them from a clip's start", dataset, sampling,
            )  # fmt: skip
