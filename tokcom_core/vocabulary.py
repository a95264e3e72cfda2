"""Checks that a language model can read the texts of a data set and generate its answers.

A word that the tokenizer does not know becomes its unknown token, or nothing at all, and an answer
made of such words can never be right. Nor can the answer to a question that is cut off.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from transformers import PreTrainedTokenizerBase

from .datasets.samples import Samples
from .tasks.base import Task, normalise_answer

logger = logging.getLogger(__name__)

MAX_UNKNOWN_FRACTION = 0.01
"""Fraction of unknown words, or of texts that are cut, beyond which a warning is logged."""

_WORD = re.compile(r"\w+|[^\w\s]")
_SHOWN = 5
_BATCH = 4096


@dataclass(frozen=True)
class TextLimit:
    """Maximum length of the texts that a system reads.

    Attributes:
        max_tokens: Maximum number of tokens.
        key: Key of the system that sets it.
        special_tokens: How many of them are special tokens, such as CLS.
    """

    max_tokens: int
    key: str
    special_tokens: int = 0

    @property
    def words(self) -> int:
        """Maximum number of tokens of the text itself."""
        return self.max_tokens - self.special_tokens


def check_texts(
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    samples: Mapping[str, Samples],
    max_answer_tokens: int,
) -> None:
    """Warns of words in the texts that the language model does not know.

    Answers of groups that are not tested, such as LLaVA's conversations, are only trained on and
    never scored. Unknown words in them cause no more than a warning.

    Raises:
        ValueError: if the language model cannot generate an answer of a tested group.
    """
    tested = set(samples[task.test_split].group)

    def answers(split: str, scored: bool = True) -> list[str]:
        pairs = zip(samples[split].group, samples[split].answer, strict=True)
        return [answer for group, answer in pairs if (group in tested) == scored]

    generated = [*answers(task.validation_split), *answers(task.test_split)]
    check_answers(tokenizer, [*answers(task.train_split), *generated])
    check_answer_lengths(tokenizer, generated, max_answer_tokens)
    texts_alone = [*answers(task.train_split, False), *answers(task.validation_split, False)]
    warn_of_unknown_words(tokenizer, texts_alone, "answers that are only trained on")
    for what in reversed(task.texts):
        texts = (text for split in samples.values() for text in split[what])
        warn_of_unknown_words(tokenizer, texts, f"{what}s")


def warn_of_unknown_words(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], what: str
) -> float:
    """The fraction of words that ``tokenizer`` does not know; logs a warning if it is large.

    Args:
        tokenizer: Fast tokenizer of the language model.
        texts: Texts, each counted as often as it occurs.
        what: Name of the texts in the warning.
    """
    words, unknown = 0, Counter[str]()
    for text, count, known in _known_characters(tokenizer, Counter(texts)):
        for word in _WORD.finditer(text):
            words += count
            if not all(known[word.start() : word.end()]):
                unknown[word.group()] += count
    fraction = unknown.total() / words if words else 0.0
    if fraction > MAX_UNKNOWN_FRACTION:
        logger.warning(
            "%.1f %% of the words of the %s are unknown to the language model, most often %s",
            100 * fraction,
            what,
            ", ".join(repr(word) for word, _ in unknown.most_common(_SHOWN)),
        )
    return fraction


def check_questions(
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    samples: Mapping[str, Samples],
    limit: TextLimit,
) -> float:
    """The fraction of the asked texts that are cut because they are longer than the limit.

    Logs a warning if it is large.

    Args:
        tokenizer: Tokenizer that splits them.
        task: The task, whose last text is asked.
        samples: Samples by split.
        limit: Maximum length of a text.

    Raises:
        ValueError: if most of them keep the same tokens as another cut text, for example because
            they differ only after a long template.
    """
    splits = (task.train_split, task.validation_split, task.test_split)
    counts = Counter(text for split in splits for text in samples[split][task.texts[-1]])
    encoded = tokenizer(list(counts), add_special_tokens=False)["input_ids"]
    cut = {
        text: tuple(ids[: limit.words])
        for text, ids in zip(counts, encoded, strict=True)
        if len(ids) > limit.words
    }
    alike = Counter(cut.values())
    lost = sum(counts[text] for text, left in cut.items() if alike[left] > 1)
    longest = max(map(len, encoded), default=0) + limit.special_tokens
    total = max(1, counts.total())
    if lost > total / 2:
        raise ValueError(
            f"{lost / total:.0%} of the {task.texts[-1]}s differ only behind their first "
            f"{limit.max_tokens} tokens, where they are cut; set {limit.key} of the system, which "
            f"is {limit.max_tokens}, to {longest}"
        )
    fraction = sum(map(counts.__getitem__, cut)) / total
    _warn_of_cut_texts(fraction, f"{task.texts[-1]}s", limit, longest)
    return fraction


def check_training_answers(
    tokenizer: PreTrainedTokenizerBase, answers: Sequence[str], limit: TextLimit
) -> float:
    """The fraction of answers that training cuts to their first ``limit`` tokens.

    Logs a warning if it is large.
    """
    sizes = _sizes(tokenizer, answers)
    return _cut_fraction([sizes[answer] for answer in answers], "answers in training", limit)


def check_conversations(
    tokenizer: PreTrainedTokenizerBase,
    conversations: Sequence[Sequence[tuple[str, str]]],
    instruction: TextLimit,
    limit: TextLimit,
    markup: int = 1,
) -> float:
    """The fraction of conversations that training cuts to their first ``limit`` tokens.

    Logs a warning if it is large.

    Args:
        tokenizer: Tokenizer that splits them.
        conversations: Turns, each an instruction and a response.
        instruction: Maximum length of an instruction.
        limit: Maximum length of a conversation.
        markup: Number of additional tokens of each turn, such as the one that ends it.
    """
    sizes = _sizes(tokenizer, (text for turns in conversations for turn in turns for text in turn))
    lengths = [
        sum(min(sizes[ask], instruction.words) + sizes[answer] + markup for ask, answer in turns)
        for turns in conversations
    ]
    return _cut_fraction(lengths, "conversations in training", limit)


def _sizes(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str]) -> dict[str, int]:
    """Number of tokens of each distinct text."""
    items = iter(dict.fromkeys(texts))
    sizes: dict[str, int] = {}
    while batch := list(islice(items, _BATCH)):
        encoded = tokenizer(batch, add_special_tokens=False)["input_ids"]
        sizes.update(zip(batch, map(len, encoded), strict=True))
    return sizes


def _cut_fraction(lengths: Sequence[int], what: str, limit: TextLimit) -> float:
    fraction = sum(length > limit.words for length in lengths) / max(1, len(lengths))
    _warn_of_cut_texts(fraction, what, limit, max(lengths, default=0))
    return fraction


def _warn_of_cut_texts(fraction: float, what: str, limit: TextLimit, longest: int) -> None:
    if fraction > MAX_UNKNOWN_FRACTION:
        logger.warning(
            "%.1f %% of the %s are cut, being longer than the %d tokens of %s; the longest has %d",
            100 * fraction,
            what,
            limit.max_tokens,
            limit.key,
            longest,
        )


def check_answers(tokenizer: PreTrainedTokenizerBase, answers: Iterable[str]) -> None:
    """Refuses answers that the language model cannot give.

    Raises:
        ValueError: if an answer holds an unknown word, has no tokens, or differs from what its
            tokens decode to; the message names some.
    """
    distinct = list(dict.fromkeys(answers))
    encoded = tokenizer(distinct, add_special_tokens=False)["input_ids"]
    decoded = tokenizer.batch_decode(encoded, skip_special_tokens=True)
    lost = [
        answer
        for answer, ids, text in zip(distinct, encoded, decoded, strict=True)
        if not ids
        or tokenizer.unk_token_id in ids
        or normalise_answer(text) != normalise_answer(answer)
    ]
    if lost:
        shown = ", ".join(repr(answer) for answer in lost[:_SHOWN])
        raise ValueError(
            f"the language model cannot say {len(lost)} of the {len(distinct)} answers, such as "
            f"{shown}: they have no tokens of their own in its tokenizer; set "
            f"models.language of the system to a model that knows them, or change the answers"
        )


def check_answer_lengths(
    tokenizer: PreTrainedTokenizerBase, answers: Iterable[str], max_tokens: int
) -> None:
    """Refuses answers of more than ``max_tokens`` tokens, which are never generated in full.

    Raises:
        ValueError: for the first of them.
    """
    distinct = list(dict.fromkeys(answers))
    encoded = tokenizer(distinct, add_special_tokens=False)["input_ids"]
    for answer, ids in zip(distinct, encoded, strict=True):
        if len(ids) > max_tokens:
            raise ValueError(
                f"the answer {answer!r} takes {len(ids)} tokens, but no more than {max_tokens} are "
                f"generated; raise evaluation.max_answer_tokens"
            )


def _known_characters(
    tokenizer: PreTrainedTokenizerBase, texts: Counter[str]
) -> Iterator[tuple[str, int, bytearray]]:
    """Yields each distinct text, how often it occurs, and a flag for each of its characters.

    The flag is 1 for a character of a known token, and 0 for one of an unknown token or of none.
    """
    items = iter(texts.items())
    while batch := list(islice(items, _BATCH)):
        encoded = tokenizer(
            [text for text, _ in batch], add_special_tokens=False, return_offsets_mapping=True
        )
        for (text, count), ids, offsets in zip(
            batch, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            known = bytearray(len(text))
            for token, (start, end) in zip(ids, offsets, strict=True):
                if token != tokenizer.unk_token_id:
                    known[start:end] = b"\1" * (end - start)
            yield text, count, known
