"""Answers of a language model: their losses, and which of them have to be generated.

Shapes: ``B`` batch, ``A`` tokens of the longest answer with its end, ``V`` words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

IGNORED = -100
"""Label of what is not predicted, such as tokens after the end of an answer."""


def padded(rows: Iterable[Sequence[int]]) -> Tensor:
    """Rows of different lengths as one tensor, int64 ``[B, A]``, filled up with ``IGNORED``."""
    tensors = [torch.tensor(list(row), dtype=torch.long) for row in rows]
    return pad_sequence(tensors, batch_first=True, padding_value=IGNORED)


def token_count(labels: Tensor) -> int:
    """Number of tokens among labels, of any shape."""
    return int((labels != IGNORED).sum())


class AnswerLosses(NamedTuple):
    """Cross-entropies over the whole vocabulary: two readings of eq. (14) of paper 1.

    Attributes:
        all_tokens: Mean over all answer tokens of the batch, ends of sequence included.
        first_token: Mean over the first answer tokens of the samples, as in paper 1's code.
        tokens: Number of answer tokens of the batch.
    """

    all_tokens: Tensor
    first_token: Tensor
    tokens: int

    @property
    def reported(self) -> dict[str, float]:
        """Both losses by name, as predictions report them."""
        return {"task": float(self.all_tokens), "first_token": float(self.first_token)}

    @property
    def counts(self) -> dict[str, int]:
        """Number of terms that a reported loss averages, if that is not the number of samples."""
        return {"task": self.tokens}


def answer_losses(logits: Tensor, answers: Tensor) -> AnswerLosses:
    """Losses of answers ``[B, A]``, given the logits ``[B, A, V]`` that predict them."""
    return AnswerLosses(
        F.cross_entropy(logits.flatten(0, 1), answers.flatten(), ignore_index=IGNORED),
        F.cross_entropy(logits[:, 0], answers[:, 0]),
        token_count(answers),
    )


def greedy_answers(
    likeliest: Tensor, answers: Tensor, end: int, longest: int, generate: Callable[[Tensor], Tensor]
) -> Tensor:
    """Greedy answers; only those that differ from the true ones are generated.

    If each token of the true answer is the most likely one after those before it, greedy decoding
    yields exactly the true answer. The forward pass of the loss has already shown whether it is so.

    Args:
        likeliest: Most likely tokens ``[B, A]`` where the true answers are predicted.
        answers: True answers ``[B, A]`` with their ends, then ``IGNORED``.
        end: Token that ends an answer.
        longest: Maximum number of generated tokens.
        generate: Returns greedy answers ``[b, <= longest]`` to the samples of the batch with the
            given indices, int64 ``[b]``.

    Returns:
        Token ids ``[B, longest]``, with ``end`` or the model's padding after the end.
    """
    truth = answers[:, :longest]
    likely = (likeliest[:, :longest] == truth) | (truth == IGNORED)
    texts = torch.full((len(answers), longest), end, device=answers.device)
    texts[:, : truth.shape[1]] = truth.where(truth != IGNORED, end)
    others = (~likely.all(1)).nonzero()[:, 0]
    if len(others):
        generated = generate(others)
        texts[others] = end
        texts[others, : generated.shape[1]] = generated
    return texts
