"""The score of VQA (Antol et al., ICCV 2015) for ten human answers, and its normalisation.

If one of the ten people is left out, an answer that n of the other nine gave is worth
min(n / 3, 1). The score is the mean over the ten ways to leave one out, so that 1, 2, 3, 4 matches
give .3, .6, .9, 1. Before that, punctuation, numbers, articles and contractions are normalised as
in the official evaluation:
https://github.com/GT-Vision-Lab/VQA, ``PythonEvaluationTools/vqaEvaluation/vqaEval.py``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean

_NUMBERS = {
    "none": "0",
    "zero": "0",
    "one": "1",
    "two": "2",
    "three": "3",
    "four": "4",
    "five": "5",
    "six": "6",
    "seven": "7",
    "eight": "8",
    "nine": "9",
    "ten": "10",
}
_ARTICLES = ("a", "an", "the")
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
_PERIOD = re.compile(r"\.(?!\d)")
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
CONTRACTIONS = {
    word[:i] + word[i + 1 :]: word
    for word in _CONTRACTED.split()
    for i, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
"""Words that lack one of their apostrophes, and the words that are meant.

For ``somebody'd``, the official table has it the other way round.
"""


def normalise(answer: str) -> str:
    """The form of an answer that the official evaluation compares."""
    text = answer.replace("\n", " ").replace("\t", " ").strip()
    number = _COMMA_IN_NUMBER.search(text) is not None
    cleaned = text
    for mark in _PUNCTUATION:
        alone = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if alone or number else " ")
    cleaned = _PERIOD.sub("", cleaned)
    words = [_NUMBERS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqav2_score(predicted: str, answers: Sequence[str]) -> float:
    """Score of an answer against those of several people, from 0 to 1, by VQAv2's evaluation.

    Answers are normalised only if the people differ.
    """
    given, mine = [" ".join(answer.split()) for answer in answers], " ".join(predicted.split())
    if len(set(given)) > 1:
        given, mine = [normalise(answer) for answer in given], normalise(mine)
    return _consensus(mine, given)


def textvqa_score(predicted: str, answers: Sequence[str]) -> float:
    """Score of an answer against those of several people, from 0 to 1, by TextVQA's evaluation.

    Answers are always normalised, after commas and question marks have been left out and ``'s`` has
    been set apart (``EvalAIAnswerProcessor`` of MMF).
    """

    def words(answer: str) -> str:
        return normalise(answer.lower().replace(",", "").replace("?", "").replace("'s", " 's"))

    return _consensus(words(predicted), [words(answer) for answer in answers])


def _consensus(mine: str, given: Sequence[str]) -> float:
    matches = sum(answer == mine for answer in given)
    return fmean(min((matches - (answer == mine)) / 3, 1.0) for answer in given)
