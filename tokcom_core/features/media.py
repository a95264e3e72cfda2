"""Selected tokens of one medium, as a study asks for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from ..datasets.samples import Samples
from ..encoders import EncoderConfig, NamedEncoder
from ..tasks.base import Task
from .base import Features
from .sliding import Sliding
from .store import open_features
from .writing import is_readable, write_features


class MediaFeatures(Features):
    """Selected tokens of one medium and data set, at every token length that is wanted.

    Attributes:
        medium: Name of the medium, see :attr:`Task.media`.
        dataset: Folder that the media lie in.
        encoder: Frozen encoder.
        sliding: Selection and format of the store.
    """

    kind: Literal["media"] = "media"
    medium: str
    dataset: str
    encoder: NamedEncoder
    sliding: Sliding

    def write(self, folder: Path, task: Task, root: Path, device: str) -> None:
        ids = dict.fromkeys(m for s in self.splits for m in task.samples(root, s).media_id)
        media = partial(task.media_file, root, self.splits[0], self.medium)
        encoder, shape = self.encoder.build(device), self.encoder.shape()
        if (encoder.length, encoder.width) != (shape.length, shape.width):
            raise ValueError(
                f"encoder {self.encoder.name!r} makes {encoder.length} tokens of {encoder.width} "
                f"features of a window, but its shape() says {shape.length} of {shape.width}"
            )
        self._check_extracted(task, root, list(ids))
        write_features(folder, encoder, media, list(ids), self.sliding)

    def _check_extracted(self, task: Task, root: Path, media_ids: Sequence[str]) -> None:
        """Raises ValueError if there are recordings, but nothing is extracted from any of them."""
        split = self.splits[0]
        files = [task.media_file(root, split, self.medium, media_id) for media_id in media_ids]
        wanted = [file for file in files if file is not None]
        recordings = (task.recording_file(root, split, media_id) for media_id in media_ids)
        if any(file.exists() for file in wanted) or not any(r and r.is_file() for r in recordings):
            return
        if wanted:
            raise ValueError(
                f"no {self.medium} of {len(wanted)} clips is extracted, the first would be "
                f"{wanted[0]}; 'tokcom data prepare {root}' extracts it"
            )

    def encodings(
        self, task: Task, root: Path, samples: Samples, device: str
    ) -> Iterator[Callable[[], object]]:
        encoder = self.encoder.build(device)
        for media_id in samples.media_id:
            file = task.media_file(root, self.splits[0], self.medium, media_id)
            if file is not None:
                clip = encoder.read(file)
                yield partial(list, self.sliding.encode(encoder, [clip]))

    def covers(self, wanted: Features) -> bool:
        if not isinstance(wanted, MediaFeatures):
            return False
        counts = set(wanted.sliding.counts) <= set(self.sliding.counts)
        return counts and self._with_counts(()) == wanted._with_counts(())

    def joined(self, other: Features) -> MediaFeatures | None:
        if not isinstance(other, MediaFeatures) or self._with_counts(()) != other._with_counts(()):
            return None
        return self._with_counts(sorted({*self.sliding.counts, *other.sliding.counts}))

    def damaged(self, folder: Path) -> dict[str, str]:
        return open_features(folder).damaged

    def repaired(self, folder: Path, task: Task, root: Path) -> set[str]:
        store = open_features(folder)
        files = {
            media_id: task.media_file(root, self.splits[0], self.medium, media_id)
            for media_id in store.damaged.keys() - store.refused
        }
        return {media_id for media_id, file in files.items() if file and is_readable(file)}

    def windows(self, folder: Path, media_ids: Sequence[str]) -> float:
        return open_features(folder).mean_windows(media_ids)

    def _with_counts(self, counts: Sequence[int]) -> MediaFeatures:
        return self.model_copy(update={"sliding": replace(self.sliding, counts=tuple(counts))})


def features_of_datasets(
    task: Task, splits: Sequence[str], medium: str, encoder: EncoderConfig, sliding: Sliding
) -> tuple[MediaFeatures, ...]:
    """Features of one medium in some splits of a task, one for each data set that holds them."""
    datasets: dict[str, list[str]] = {}
    for split in splits:
        datasets.setdefault(task.dataset(split), []).append(split)
    return tuple(
        MediaFeatures(
            medium=medium, dataset=dataset, splits=tuple(held), encoder=encoder, sliding=sliding
        )
        for dataset, held in datasets.items()
    )
