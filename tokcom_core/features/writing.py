"""Encodes the files of a data set, once, into a feature store."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray
from torch import Tensor

from ..encoders import ENCODER_BATCH, MediaEncoder
from .sliding import Sliding
from .store import META, TOKENS


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
    places = {media_id: media(media_id) for media_id in media_ids}
    files = {media_id: file for media_id, file in places.items() if file is not None}
    windows: dict[str, int] = {}
    damaged: dict[str, str] = {}
    stored = np.lib.format.open_memmap(
        folder / TOKENS,
        mode="w+",
        dtype=np.dtype(sliding.dtype),
        shape=(max(1, len(files)), sum(sliding.counts), encoder.width),  # an empty map is refused
    )
    with (folder / TOKENS).open("r+b") as file:  # else a full disk would end the process
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
    absent = [media_id for media_id in places if media_id not in files]
    meta = {
        "counts": sliding.counts,
        "windows": windows,
        "damaged": damaged,
        "refused": [media_id for media_id in damaged if is_readable(files[media_id])],
        "absent": absent,
    }
    (folder / META).write_text(json.dumps(meta))
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


def is_readable(file: Path) -> bool:
    """Whether the file of a medium is there and undamaged, as far as its kind is known."""
    from ..datasets.reading import check_readable

    try:
        check_readable(file)
    except ValueError:
        return False
    return file.exists()  # files of unknown kinds are not read


def _check_tokens(encoder: MediaEncoder, encoded: Sequence[object], files: int) -> None:
    """Raises ValueError unless each file has floating-point ``[windows, length, width]``."""
    name = f"{type(encoder).__name__}.encode"
    if len(encoded) != files:
        raise ValueError(f"{name} should give tokens of each of {files} files, gave {len(encoded)}")
    for tokens in encoded:
        gave = type(tokens).__name__
        if isinstance(tokens, Tensor):
            if tokens.shape[1:] == (encoder.length, encoder.width) and tokens.is_floating_point():
                continue
            gave = f"{str(tokens.dtype).removeprefix('torch.')} {list(tokens.shape)}"
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
