"""The feature store: selected tokens of a data set, computed once, memory-mapped by every trial."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from ..datasets.samples import Samples
from ..encoders import ENCODER_BATCH, EncoderConfig, MediaEncoder, NamedEncoder
from ..selection import FrozenSelection, select
from ..slide import Rounding, slide
from ..storage import reading
from ..tasks.base import Task
from .base import Features

FeatureDtype = Literal["float16", "float32"]

_META = "meta.json"


@dataclass(frozen=True)
class FeatureStore:
    """Selected tokens of one encoder, memory-mapped.

    Attributes:
        tokens: ``[clips, sum(counts), width]``: for each clip, the tokens of every token length,
            one length after the other.
        counts: Token lengths s that were selected, ascending.
        row: Row of each media id; damaged and absent clips have none.
        windows: Number of the encoder's windows, by row.
        damaged: Reason for each skipped clip, by media id.
        refused: Those of them whose files can be read: the encoder does not take what they hold.
        absent: Media ids of samples that have no such medium, such as a question without a picture.
    """

    tokens: NDArray[np.floating]
    counts: tuple[int, ...]
    row: dict[str, int]
    windows: tuple[int, ...]
    damaged: dict[str, str]
    refused: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()

    @property
    def width(self) -> int:
        return int(self.tokens.shape[2])

    def select(self, media_ids: Sequence[str], count: int) -> Tensor:
        """The ``count`` tokens of clips, ``[B, count, width]``, float32; zeros for absent ones.

        Raises:
            ValueError: if the store does not hold this token length.
        """
        if count not in self.counts:
            raise ValueError(
                f"the feature store has no {count} tokens of a clip, it has those of "
                f"{', '.join(str(c) for c in self.counts)}"
            )
        start = sum(self.counts[: self.counts.index(count)])
        there = self.present(media_ids)
        rows = [self.row[media_id] for media_id in media_ids if media_id not in self.absent]
        tokens = torch.zeros(len(media_ids), count, self.width)
        tokens[there] = torch.from_numpy(
            self.tokens[rows, start : start + count].astype(np.float32)
        )
        return tokens

    def present(self, media_ids: Sequence[str]) -> Tensor:
        """Which of these samples have the medium at all, bool ``[B]``."""
        return torch.tensor([media_id not in self.absent for media_id in media_ids])

    def mean_windows(self, media_ids: Sequence[str]) -> float:
        """Mean number of the encoder's windows in these clips; an absent one has none."""
        windows = [
            0 if media_id in self.absent else self.windows[self.row[media_id]]
            for media_id in media_ids
        ]
        return float(np.mean(windows))


@dataclass(frozen=True)
class Sliding:
    """How tokens of clips are selected, by the slide of eq. (3) or otherwise, and stored.

    Attributes:
        counts: Token lengths s, ascending.
        with_summary: Whether the summary tokens of each window are among those to select from.
        rounding: Rounding of the slide's positions.
        dtype: Data type of the stored tokens.
        selection: How tokens are selected.
    """

    counts: tuple[int, ...]
    with_summary: bool = False
    rounding: Rounding = "nearest"
    dtype: FeatureDtype = "float16"
    selection: FrozenSelection = "slide"

    def encode(
        self, encoder: MediaEncoder, clips: Sequence[Tensor]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Tokens of clips, and the attention to each token if the selection needs it."""
        if self.selection == "attention":
            yield from encoder.encode_attended(clips)
        else:
            yield from ((tokens, None) for tokens in encoder.encode(clips))

    def selected(self, tokens: Tensor, attention: Tensor | None, summary_tokens: int) -> Tensor:
        """Selects ``[sum(counts), width]`` of all windows' tokens ``[windows, length, width]``.

        Args:
            tokens: Tokens of a clip.
            attention: Attention ``[windows, length]`` to each of them, see :meth:`encode`.
            summary_tokens: Number of tokens at the front of each window that stand for all of it.

        Raises:
            ValueError: if a clip has fewer tokens than one of the counts.
        """
        skipped = 0 if self.with_summary else summary_tokens
        pool = tokens[:, skipped:].flatten(0, 1)
        attended = None if attention is None else attention[:, skipped:].flatten()
        return torch.cat([self._select(pool, attended, count) for count in self.counts])

    def _select(self, pool: Tensor, attention: Tensor | None, count: int) -> Tensor:
        if self.selection == "slide":
            return pool[torch.from_numpy(slide(len(pool), count, self.rounding))]
        return select(self.selection, pool, attention, count)


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
        return {media_id for media_id, file in files.items() if file and _is_readable(file)}

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
            medium=medium, dataset=dataset, splits=tuple(own), encoder=encoder, sliding=sliding
        )
        for dataset, own in datasets.items()
    )


def write_features(
    folder: Path,
    encoder: MediaEncoder,
    media: Callable[[str], Path | None],
    media_ids: Sequence[str],
    sliding: Sliding,
) -> dict[str, str]:
    """Encodes clips into ``folder``; returns the skipped (damaged) ones with reasons.

    Args:
        folder: Folder that the store is written to.
        encoder: Frozen encoder.
        media: Function that gives the file or folder of a media id, None if it is absent.
        media_ids: Clips to encode.
        sliding: Selection and format of the store.

    Raises:
        ValueError: if there are clips, but none can be read, if a token is too large for the
            store's precision, or if the encoder gives anything but tokens of its shape.
    """
    found = {media_id: media(media_id) for media_id in media_ids}
    files = {media_id: file for media_id, file in found.items() if file is not None}
    windows: dict[str, int] = {}
    damaged: dict[str, str] = {}
    stored = np.lib.format.open_memmap(
        folder / "tokens.npy",
        mode="w+",
        dtype=np.dtype(sliding.dtype),
        shape=(max(1, len(files)), sum(sliding.counts), encoder.width),  # an empty map is refused
    )
    with (folder / "tokens.npy").open("r+b") as file:  # else a full disk would end the process
        os.posix_fallocate(file.fileno(), 0, stored.offset + stored.nbytes)
    for batch in _batches(encoder, files, damaged):
        encoded = [*sliding.encode(encoder, list(batch.values()))]
        _check_tokens(encoder, [tokens for tokens, _ in encoded], len(batch))
        for media_id, (tokens, attention) in zip(batch, encoded, strict=True):
            try:
                chosen = sliding.selected(_finite(tokens), attention, encoder.summary_tokens)
            except ValueError as error:
                damaged[media_id] = str(error)
                continue
            stored[len(windows)] = _rounded(chosen, stored.dtype, media_id)
            windows[media_id] = len(tokens)
    if files and not windows:
        name, reason = next(iter(damaged.items()))
        raise ValueError(f"none of {len(files)} media can be encoded: {name}: {reason}")
    stored.flush()
    absent = [media_id for media_id in found if media_id not in files]
    meta = {
        "counts": sliding.counts,
        "windows": windows,
        "damaged": damaged,
        "refused": [media_id for media_id in damaged if _is_readable(files[media_id])],
        "absent": absent,
    }
    (folder / _META).write_text(json.dumps(meta))
    return damaged


def _batches(
    encoder: MediaEncoder, files: Mapping[str, Path], damaged: dict[str, str]
) -> Iterator[dict[str, Tensor]]:
    """Inputs of the encoder by media id, in batches; adds unreadable clips to the damaged."""
    batch: dict[str, Tensor] = {}
    for media_id, file in files.items():
        try:
            batch[media_id] = encoder.read(file)
        except ValueError as error:
            damaged[media_id] = str(error)
        if sum(len(clip) for clip in batch.values()) >= ENCODER_BATCH:
            yield batch
            batch = {}
    if batch:
        yield batch


def _is_readable(file: Path) -> bool:
    from ..datasets.reading import check_readable

    try:
        check_readable(file)
    except ValueError:
        return False
    return file.exists()  # files of unknown kinds are not read


def _check_tokens(encoder: MediaEncoder, found: Sequence[object], files: int) -> None:
    """Raises ValueError unless each file has floating-point ``[windows, length, width]``."""
    name = f"{type(encoder).__name__}.encode"
    if len(found) != files:
        raise ValueError(f"{name} should give tokens of each of {files} files, gave {len(found)}")
    for own in found:
        gave = type(own).__name__
        if isinstance(own, Tensor):
            if own.shape[1:] == (encoder.length, encoder.width) and own.is_floating_point():
                continue
            gave = f"{str(own.dtype).removeprefix('torch.')} {list(own.shape)}"
        raise ValueError(
            f"{name} should give float32 [windows, {encoder.length}, {encoder.width}] of a file, "
            f"gave {gave}"
        )


def _finite(tokens: Tensor) -> Tensor:
    if not bool(torch.isfinite(tokens).all()):
        raise ValueError("the encoder makes tokens of it that are not finite")
    return tokens


def _rounded(tokens: Tensor, dtype: DTypeLike, media_id: str) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):
        rounded = tokens.detach().numpy().astype(dtype)
    if not np.isfinite(rounded).all():
        raise ValueError(
            f"clip {media_id}: a token's feature of {float(tokens.abs().max()):.3g} is beyond "
            "float16; set feature_dtype of the system, beside the encoder's key, to float32"
        )
    return rounded


def open_features(folder: Path) -> FeatureStore:
    """Maps what :func:`write_features` wrote.

    Raises:
        ValueError: for a damaged folder.
    """
    with reading(folder):
        meta = json.loads((folder / _META).read_text())
        tokens = np.load(folder / "tokens.npy", mmap_mode="r")
    return FeatureStore(
        tokens=tokens,
        counts=tuple(meta["counts"]),
        row={media_id: i for i, media_id in enumerate(meta["windows"])},
        windows=tuple(meta["windows"].values()),
        damaged=meta["damaged"],
        refused=frozenset(meta.get("refused", ())),  # of an earlier version
        absent=frozenset(meta["absent"]),
    )
