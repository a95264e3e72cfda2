"""Checks of the data for paper 1's system, before anything is trained."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from ...checkpoints.loading import load_tokenizer
from ...datasets.media import read_sampling
from ...datasets.samples import Samples
from ...tasks.base import Task
from ...vocabulary import check_answers, warn_of_unknown_words

logger = logging.getLogger(__name__)


def check_texts(
    language: str, task: Task, samples: Mapping[str, Samples], max_answer_tokens: int
) -> None:
    """Warns of words in the texts that the language model does not know.

    Raises:
        ValueError: for answers that it cannot generate.
    """
    tokenizer = load_tokenizer(language)
    asked = (task.train_split, task.validation_split, task.test_split)
    answers = [answer for split in asked for answer in samples[split].answer]
    check_answers(tokenizer, answers, max_answer_tokens)
    for what in reversed(task.texts):
        texts = (text for split in samples.values() for text in split[what])
        warn_of_unknown_words(tokenizer, texts, f"{what}s")


def warn_of_sampling(task: Task, root: Path) -> None:
    """Warns if the first frames are wanted, but the data set holds evenly spaced ones."""
    for dataset in dict.fromkeys(task.dataset(split) for split in task.splits):
        sampling = read_sampling(root / dataset)
        if sampling is not None and sampling.rate_hz is None:
            logger.warning(
                "models.frames: first, but %s has %s; 'tokcom data prepare --rate 0.6' takes "
                "them from a clip's start", dataset, sampling,
            )  # fmt: skip
