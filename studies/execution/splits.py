"""The samples of a study's splits, and the sizes of their media files."""

from __future__ import annotations

import logging

from tokcom_core.datasets.samples import read_samples
from tokcom_core.systems import transport_of
from tokcom_core.tasks.uploads import upload_table

from ..plan.specs import FeaturesSpec
from ..plan.study import Study
from ..storage.folder import StudyFolder

logger = logging.getLogger(__name__)


def write_samples(folder: StudyFolder, study: Study, features: list[FeaturesSpec]) -> None:
    """Writes the samples of each split, except those of media that an encoder could not read.

    If the folder has samples already, no others come in: its networks were trained without them,
    though encoders of a grown study may read more.
    """
    root = folder.data(study)
    for split in study.task.splits:
        own = [spec for spec in features if split in spec.features.splits]
        unreadable = [spec.features.damaged(folder.artifacts.path(spec)) for spec in own]
        samples = study.task.samples(root, split).with_unique_ids()
        media = set(samples.media_id)
        damaged = {m: why for found in unreadable for m, why in found.items() if m in media}
        if damaged:
            named = "; ".join(f"{media_id}: {why}" for media_id, why in damaged.items())
            logger.warning("skipped %d clips of %s: %s", len(damaged), split, named)
            _warn_of_repaired(folder, study, own, set(damaged))
        kept = media - set(damaged)
        if (before := _media_before(folder, split)) is not None:
            _warn_of_change(folder, split, kept, before)
            kept &= before
        samples = samples.keep(kept)
        if not len(samples):
            raise ValueError(f"split {split!r} of {root} has no readable sample")
        with folder.write(folder.samples(split)) as partial:
            samples.write(partial)


def _media_before(folder: StudyFolder, split: str) -> set[str] | None:
    """The media of the samples that a folder already has; None if it has none."""
    file = folder.samples(split)
    return set(read_samples(file).media_id) if file.exists() else None


def _warn_of_change(folder: StudyFolder, split: str, kept: set[str], before: set[str]) -> None:
    """Says which media of a split can be read now and could not before, or the other way round."""
    for changed, what in (
        (kept - before, "can be read by now, and stay out, as what is there was made without them"),
        (before - kept, "could be read before; what is there was made with them"),
    ):
        if changed:
            logger.warning(
                "%d clips of %s in %s %s (such as %s); take another --out for a study of one set",
                len(changed), split, folder.store, what, min(changed),
            )  # fmt: skip


def _warn_of_repaired(
    folder: StudyFolder, study: Study, features: list[FeaturesSpec], skipped: set[str]
) -> None:
    """Says which skipped clips have become readable: networks were trained without them."""
    for spec in features:
        store, root = folder.artifacts.path(spec), folder.data(study)
        broken = set(spec.features.damaged(store))
        skipped = skipped - (broken - spec.features.repaired(store, study.task, root))
    if skipped:
        logger.warning(
            "%d of them can be read by now, such as %s; what is in %s goes on without them, as it "
            "began, and a study with another --out takes them in",
            len(skipped), min(skipped), folder.store,
        )  # fmt: skip


def uploads_files(study: Study) -> bool:
    """Whether some method uploads media files."""
    for method in study.methods:
        streams = study.system(method).streams(study.task, study.tokens[0])
        media = [stream for stream in streams if stream.medium is not None]
        if any(transport_of(stream, method.transport) == "file" for stream in media):
            return True
    return False


def write_file_bits(folder: StudyFolder, study: Study) -> None:
    """Writes the size of every medium's own file, for streams that upload it."""
    task = study.task
    media = {split: read_samples(folder.samples(split)).media_id for split in task.splits}
    table = upload_table(task, folder.data(study), media)
    with folder.write(folder.file_bits) as partial:
        table.to_parquet(partial, index=False)
