"""Frozen tokens of text, eq. (1): the ids of every text, and the embeddings of those ids alone.

A device that sends text thus needs neither a tokenizer nor a language model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..storage import reading
from ..tasks.base import Task
from .base import Features

if TYPE_CHECKING:
    from ..encoders.text import TextEncoder


@dataclass(frozen=True)
class TextStore:
    """Tokens of known texts.

    Attributes:
        rows: Rows of the embedding that each text consists of.
        embedding: Embeddings of the tokens that occur, float32 ``[tokens, width]``.
    """

    rows: Mapping[str, Sequence[int]]
    embedding: Tensor

    @property
    def width(self) -> int:
        return int(self.embedding.shape[1])

    @property
    def known(self) -> int:
        """Number of different tokens that the texts consist of."""
        return len(self.embedding)

    def select(self, texts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
        """Tokens ``[B, S, width]`` of texts, padded to the longest, and which are real ``[B, S]``.

        Args:
            texts: Texts that the store holds.
            longest: Maximum number of tokens; longer texts are cut.
        """
        rows, valid = self.ids(texts, longest)
        return self.embedding[rows], valid

    def ids(self, texts: Sequence[str], longest: int) -> tuple[Tensor, Tensor]:
        """Rows ``[B, S]`` of :attr:`embedding` instead of tokens, see :meth:`select`."""
        rows = [torch.tensor(self.rows[text][:longest], dtype=torch.long) for text in texts]
        lengths = torch.tensor([[len(row)] for row in rows])
        one = torch.zeros(1, dtype=torch.long)  # a batch has one token at least, to be sent
        padded = pad_sequence([*rows, one], batch_first=True)[:-1]
        return padded, torch.arange(padded.shape[1]) < lengths


class TextFeatures(Features):
    """Tokens of the texts of a task.

    Attributes:
        columns: Columns of the samples.
        checkpoint: Language model whose tokenizer and input embeddings are used.
    """

    kind: Literal["text"] = "text"
    columns: tuple[str, ...]
    checkpoint: str

    def write(self, folder: Path, task: Task, root: Path, device: str) -> None:
        from ..encoders.text import TextEncoder

        samples = [task.samples(root, split) for split in self.splits]
        texts = (text for table in samples for column in self.columns for text in table[column])
        write_texts(folder, TextEncoder(self.checkpoint, device), texts)


def write_texts(folder: Path, encoder: TextEncoder, texts: Iterable[str]) -> None:
    """Tokenises texts into ``folder``, by a :class:`~tokcom_core.encoders.text.TextEncoder`."""
    ids = {text: encoder.ids(text) for text in dict.fromkeys(texts)}
    known = sorted({0, *(i for row in ids.values() for i in row)})
    row_of = {token: row for row, token in enumerate(known)}
    rows = [[row_of[i] for i in row] for row in ids.values()]
    pd.DataFrame({"text": list(ids), "rows": rows}).to_parquet(folder / "texts.parquet")
    embedding = encoder(torch.tensor(known)).float().cpu().contiguous()
    save_file({"embedding": embedding}, folder / "embedding.safetensors")


def open_texts(folder: Path) -> TextStore:
    """Reads what :func:`write_texts` wrote.

    Raises:
        ValueError: for a damaged folder.
    """
    with reading(folder):
        frame = pd.read_parquet(folder / "texts.parquet")
        embedding = load_file(folder / "embedding.safetensors")["embedding"]
    return TextStore(dict(zip(frame["text"], frame["rows"], strict=True)), embedding)
