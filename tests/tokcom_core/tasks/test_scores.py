"""Published scores on worked examples."""

from __future__ import annotations

import json
import math
import random

import pytest

from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks.captioning import Captioning
from tokcom_core.tasks.cider import cider_d, corpus_of, ngrams
from tokcom_core.tasks.vqa_score import CONTRACTIONS, normalise, textvqa_score, vqav2_score


@pytest.mark.parametrize(
    ("matches", "score"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)]
)
def test_consensus_of_ten_people(matches: int, score: float) -> None:
    """The mean over the ten ways to leave one person out."""
    answers = ["red"] * matches + ["blue"] * (10 - matches)
    assert vqav2_score("red", answers) == pytest.approx(score)
    assert textvqa_score("red", answers) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "normal"),
    [
        ("The Red, Ball!", "red ball"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("isnt", "isn't"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),  # the official table's, which has no somebodyd
        ("1,000", "1000"),
        ("black/white", "black white"),
        ("3.5 m.", "3.5 m"),
        ("yes?", "yes"),
    ],
)
def test_normalisation_is_the_official_one(answer: str, normal: str) -> None:
    assert normalise(answer) == normal


def test_contractions_lack_one_apostrophe() -> None:
    assert CONTRACTIONS["couldn'tve"] == "couldn't've"
    assert CONTRACTIONS["twas"] == "'twas"
    assert "hell" not in CONTRACTIONS and "well" not in CONTRACTIONS


def test_vqav2_normalises_only_where_people_differ() -> None:
    assert vqav2_score("Red", ["red"] * 10) == 0.0
    assert vqav2_score("Red", ["red"] * 9 + ["blue"]) == 1.0
    assert textvqa_score("Red", ["red"] * 10) == 1.0


@pytest.mark.parametrize(
    ("answer", "same"),
    [
        ("$1,000/month", "$1000/month"),
        ("7,up", "7up"),
        ("12,345-6", "12345-6"),
        ("Joe's", "joe 's"),
    ],
)
def test_textvqa_leaves_commas_out_before_all_else(answer: str, same: str) -> None:
    assert textvqa_score(same, [answer] * 10) == 1.0


def test_cider_d_of_a_caption_by_hand() -> None:
    """Two images, 'red ball' and 'red cube'; the candidate 'red ball' of the second.

    'red' is in both: log(2 / 2) = 0. 'ball', 'cube', 'red ball', 'red cube' weigh log 2. The
    candidate shares no weighted n-gram with 'red cube', and is alike to 'red ball' for n = 1 and 2:
    10 * (1 + 1 + 0 + 0) / 4 = 5.
    """
    corpus = corpus_of((("red ball",), ("red cube",)))
    assert cider_d("red ball", ["red cube"], corpus) == 0.0
    assert cider_d("red ball", ["red ball"], corpus) == pytest.approx(5.0)
    assert cider_d("red ball", ["red ball", "red cube"], corpus) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A man's T-shirt, red.", ["a", "man", "'s", "t-shirt", "red"]),
        ("the 'café' - 3 tables", ["the", "café", "3", "tables"]),
        ("it isn't 3.5 kg", ["it", "is", "n't", "3.5", "kg"]),
    ],
)
def test_cider_d_reads_words_as_the_treebank_does(caption: str, words: list[str]) -> None:
    assert [gram for (gram,) in ngrams(caption)[0]] == words


def test_cider_d_punishes_length_and_repetition() -> None:
    """'ball ball' of 'red ball': weights log 2 (2, 0) and log 2 (1, 0) clip to a cosine of 1 / 2;
    the unknown 'ball ball' shares no 2-gram. 'a red ball' is one word longer: exp(-1 / 72)."""
    corpus = corpus_of((("red ball",), ("red cube",)))
    assert cider_d("ball ball", ["red ball"], corpus) == pytest.approx(10 / 4 * 1 / 2)
    longer = cider_d("a red ball", ["red ball"], corpus)
    same = 10 / 4 * (1 / math.sqrt(2) + 1 / math.sqrt(2))  # 'a' and 'a red' are unknown
    assert longer == pytest.approx(same * math.exp(-1 / 72))


def test_a_perfect_caption_of_four_words_has_ten() -> None:
    corpus = corpus_of((("one big red ball",), ("two small blue cubes",)))
    assert cider_d("One big red ball.", ["one big red ball"], corpus) == pytest.approx(10)


def test_a_perfect_caption_scores_one_and_no_more() -> None:
    """Its cosine is the product of two square roots over the same sum, an ulp off at times."""
    draw = random.Random(0)
    captions = [" ".join(draw.choices("abcdefghij", k=7)) for _ in range(300)]
    references = tuple(json.dumps([caption]) for caption in captions)
    columns = dict.fromkeys(("sample_id", "media_id", "group", "answer"), tuple(captions))
    samples = Samples({**columns, "references": references})
    scores = Captioning().scores(captions, samples)
    assert max(scores) == 1.0
    assert min(scores) == pytest.approx(1.0)
