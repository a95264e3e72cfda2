"""Reviews: a small grammar with negation and intensifiers.

A review of one sentence is in the style of SST-2, one of several sentences, which may disagree, in
that of IMDB.
"""

from __future__ import annotations

import numpy as np

SUBJECTS = ("film", "plot", "story", "acting", "script", "cast", "ending", "music", "dialogue")
ADJECTIVES = {
    "positive": ("good", "great", "charming", "funny", "moving", "clever", "fresh", "wonderful"),
    "negative": ("bad", "awful", "boring", "dull", "clumsy", "stale", "silly", "tedious"),
}
INTENSIFIERS = ("very", "really", "so", "quite", "truly")
SENTIMENTS = ("negative", "positive")
"""In the order of SST-2's labels 0 and 1."""
SENTENCES = 3
_OPENINGS = ("", "i think", "they say", "to be honest ,")
WORDS = frozenset(
    " ".join(["the is not and but .", *SUBJECTS, *INTENSIFIERS, *_OPENINGS]).split()
).union(*ADJECTIVES.values(), SENTIMENTS)
"""All words of reviews and their sentiments."""


def review(rng: np.random.Generator) -> tuple[str, int]:
    """A sentence and its label: 1 is positive.

    ``the plot is not very good but the acting is wonderful`` is positive: what follows 'but'
    decides. Two clauses joined by 'and' agree.
    """
    label = int(rng.integers(2))
    return _sentence(label, rng), label


def long_review(rng: np.random.Generator) -> tuple[str, int]:
    """Three sentences and the label that at least two of them have."""
    label = int(rng.integers(2))
    labels = [label] * SENTENCES
    if rng.random() < 0.5:
        labels[int(rng.integers(SENTENCES))] = 1 - label
    return " ".join(_sentence(each, rng) for each in labels), label


def _sentence(label: int, rng: np.random.Generator) -> str:
    subjects = rng.permutation(len(SUBJECTS))
    clauses = [_clause(SUBJECTS[subjects[0]], SENTIMENTS[label], rng)]
    if rng.random() < 0.5:
        turned = rng.random() < 0.5
        first = SENTIMENTS[1 - label if turned else label]
        joint = "but" if turned else "and"
        clauses.insert(0, f"{_clause(SUBJECTS[subjects[1]], first, rng)} {joint}")
    opening = _OPENINGS[int(rng.integers(len(_OPENINGS)))]
    return " ".join([*opening.split(), *clauses, "."])


def _clause(subject: str, sentiment: str, rng: np.random.Generator) -> str:
    negated = rng.random() < 0.4
    words = ADJECTIVES[SENTIMENTS[1 - SENTIMENTS.index(sentiment)] if negated else sentiment]
    chosen = ["the", subject, "is"] + ["not"] * negated
    if rng.random() < 0.4:
        chosen.append(INTENSIFIERS[int(rng.integers(len(INTENSIFIERS)))])
    return " ".join([*chosen, words[int(rng.integers(len(words)))]])
