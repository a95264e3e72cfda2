"""Frozen states of texts: what a language model, or BERT, makes of the words of every text.

A device that sends text thus needs neither a tokenizer nor a language model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..datasets.samples import Samples
from ..storage import reading
from ..tasks.base import Task
from .base import Features

if TYPE_CHECKING:
    from ..encoders.text import StateEncoder

_BATCH = 256


@dataclass(frozen=True)
class StateStore:
    """States of known texts, memory-mapped.

    Attributes:
        states: Half-precision states ``[tokens, width]`` of all texts, one after the other.
        span: First token and number of tokens of each text.
    """

    states: NDArray[np.float16]
    span: Mapping[str, tuple[int, int]]

    @property
    def width(self) -> int:
        return int(self.states.shape[1])

    def select(self, texts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
        """States ``[B, S, width]`` of texts, padded to the longest, and which are real ``[B, S]``.

        Args:
            texts: Texts that the store holds.
            longest: Maximum number of tokens; longer texts are cut.
        """
        spans = [(start, min(count, longest)) for start, count in map(self.span.__getitem__, texts)]
        length = max(1, *(count for _, count in spans))
        padded = np.zeros((len(texts), length, self.width), dtype=np.float32)
        for row, (start, count) in zip(padded, spans, strict=True):
            row[:count] = self.states[start : start + count]
        counts = torch.tensor([count for _, count in spans])
        return torch.from_numpy(padded), torch.arange(length) < counts[:, None]


class TextStates(Features):
    """Frozen states of the texts of a task.

    Attributes:
        columns: Columns of the samples.
        checkpoint: Language model, or BERT.
        layer: Hidden state that is taken, as transformers counts them (0: before the first layer).
        max_tokens: Maximum number of tokens; longer texts are cut before they are encoded.
    """

    kind: Literal["states"] = "states"
    columns: tuple[str, ...]
    checkpoint: str
    layer: int
    max_tokens: int

    def write(self, folder: Path, task: Task, root: Path, device: str) -> None:
        from ..encoders.text import StateEncoder

        samples = [task.samples(root, split) for split in self.splits]
        texts = (text for table in samples for column in self.columns for text in table[column])
        encoder = StateEncoder(self.checkpoint, self.layer, device)
        write_states(folder, encoder, texts, self.max_tokens)

    def encodings(
        self, task: Task, root: Path, samples: Samples, device: str
    ) -> Iterator[Callable[[], object]]:
        from ..encoders.text import StateEncoder

        encoder = StateEncoder(self.checkpoint, self.layer, device)
        for texts in zip(*(samples[column] for column in self.columns), strict=True):
            ids = (encoder.ids(text, self.max_tokens) for text in texts)
            rows = [torch.tensor([row], dtype=torch.long) for row in ids]
            yield partial(_encode_each, encoder, rows)


def _encode_each(encoder: StateEncoder, rows: Sequence[Tensor]) -> list[Tensor]:
    return [encoder(ids, torch.ones_like(ids, dtype=torch.bool)) for ids in rows]


def write_states(
    folder: Path, encoder: StateEncoder, texts: Iterable[str], max_tokens: int
) -> None:
    """Encodes the first ``max_tokens`` tokens of texts into ``folder``.

    Raises:
        ValueError: for states that half precision cannot hold.
    """
    rows = {text: encoder.ids(text, max_tokens) for text in dict.fromkeys(texts)}
    counts = [len(row) for row in rows.values()]
    states = np.lib.format.open_memmap(
        folder / "states.npy", mode="w+", dtype=np.float16, shape=(sum(counts), encoder.width)
    )
    ids, filled = list(rows.values()), 0
    for start in range(0, len(ids), _BATCH):
        batch = ids[start : start + _BATCH]
        padded = pad_sequence([torch.tensor(row, dtype=torch.long) for row in batch], True)
        valid = torch.arange(padded.shape[1]) < torch.tensor([[len(row)] for row in batch])
        encoded = encoder(padded, valid)[valid].half()
        if not bool(torch.isfinite(encoded).all()):
            raise ValueError(
                f"states of {encoder.name!r} at layer {encoder.layer} are beyond float16; take its "
                "last layer, -1, which is normalised"
            )
        states[filled : filled + len(encoded)] = encoded.numpy()
        filled += len(encoded)
    states.flush()
    starts = list(accumulate(counts, initial=0))[:-1]
    frame = pd.DataFrame({"text": list(rows), "start": starts, "count": counts})
    frame.to_parquet(folder / "texts.parquet")


def open_states(folder: Path) -> StateStore:
    """Maps what :func:`write_states` wrote.

    Raises:
        ValueError: for a damaged folder.
    """
    with reading(folder):
        frame = pd.read_parquet(folder / "texts.parquet")
        states = np.load(folder / "states.npy", mmap_mode="r")
    spans = zip(frame["start"].tolist(), frame["count"].tolist(), strict=True)
    span = dict(zip(frame["text"], spans, strict=True))
    return StateStore(states, span)
