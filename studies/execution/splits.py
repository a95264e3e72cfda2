"""The samples of a study's splits, and the sizes of their files."""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from tokcom_core.datasets.layout import video_file
from tokcom_core.datasets.parallel import run_parallel
from tokcom_core.datasets.samples import (
    Samples,
    load_alignment_samples,
    load_task_samples,
    read_samples,
)
from tokcom_core.datasets.video import track_bits
from tokcom_core.features import open_features

from ..plan.specs import DATASET_OF, SPLITS, FeaturesSpec
from ..plan.study import Study
from ..storage.folder import StudyFolder

logger = logging.getLogger(__name__)


def load_split(root: Path, split: str) -> Samples:
    """The samples of one of the study's splits."""
    if split == "align":
        return load_alignment_samples(root, "train")
    return load_task_samples(root, split)


def write_samples(folder: StudyFolder, study: Study, features: list[FeaturesSpec]) -> None:
    """Writes each split's samples, less those of clips that some encoder could not read."""
    for split in SPLITS:
        stores = [open_features(folder.artifacts.path(f)) for f in features if split in f.splits]
        samples = load_split(folder.data(study), split)
        clips = set(samples.video_id)
        damaged = {v: why for store in stores for v, why in store.damaged.items() if v in clips}
        if damaged:
            named = "; ".join(f"{video_id}: {why}" for video_id, why in damaged.items())
            logger.warning("skipped %d clips of %s: %s", len(damaged), split, named)
        samples = samples.keep(clips - set(damaged))
        if not len(samples):
            raise ValueError(f"split {split!r} of {folder.data(study)} has no readable sample")
        with folder.write(folder.samples(split)) as partial:
            samples.write(partial)


def write_file_bits(folder: StudyFolder, study: Study) -> None:
    """Writes the size of every clip's coded tracks, for methods that upload files."""
    data = folder.data(study)
    clips = {
        video_file(data / DATASET_OF[split], video_id): video_id
        for split in SPLITS
        for video_id in read_samples(folder.samples(split)).video_id
    }
    sizes = run_parallel(track_bits, list(clips), workers=None)
    rows = [{"video_id": name, **bits} for name, bits in zip(clips.values(), sizes, strict=True)]
    with folder.write(folder.file_bits) as partial:
        pd.DataFrame(rows).to_parquet(partial, index=False)
