"""CIDEr-D (Vedantam et al., CVPR 2015, Section 5 and equations (1) to (3)): how alike captions are.

Captions are vectors of n-grams, n = 1 to 4, weighted by TF-IDF: a phrase that many images have
counts for little. Candidate and reference are compared by a clipped cosine and by their lengths.

Published scores use Stanford's PTB tokenizer, which needs Java. Here, words are runs of letters and
digits, lower-cased, with the hyphens inside them. What follows an apostrophe is a word of its own
('man', "'s"; 'is', "n't"), and a decimal number is one word. For plain captions this is the same.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

N = 4
SIGMA = 6.0
"""Standard deviation of the penalty on lengths that differ, in words."""

_WORD = re.compile(r"n't|\d+(?:[.,]\d+)+|[^\W_]+?(?=n't)|(?:(?<=[^\W_])')?[^\W_]+(?:-[^\W_]+)*")
Gram = tuple[str, ...]


def ngrams(caption: str) -> list[Counter[Gram]]:
    """Counts of the 1-grams to N-grams of a caption."""
    words = _WORD.findall(caption.lower())
    return [
        Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, N + 1)
    ]


@dataclass(frozen=True)
class Corpus:
    """Number of images, and for each n-gram the number of images whose references have it."""

    images: int
    frequency: Mapping[Gram, int]

    def weights(self, caption: str) -> list[dict[Gram, float]]:
        """TF-IDF of a caption's n-grams, for each n."""
        return [{g: n * self._rarity(g) for g, n in counts.items()} for counts in ngrams(caption)]

    def _rarity(self, gram: Gram) -> float:
        """Inverse document frequency; n-grams of no reference are as rare as those of one image."""
        return math.log(self.images) - math.log(max(1, self.frequency.get(gram, 0)))


@lru_cache(maxsize=4)
def corpus_of(references: tuple[tuple[str, ...], ...]) -> Corpus:
    """The corpus of the references of all images of a split."""
    frequency = Counter[Gram]()
    for texts in references:
        frequency.update({gram for text in texts for grams in ngrams(text) for gram in grams})
    return Corpus(len(references), frequency)


def cider_d(candidate: str, references: Sequence[str], corpus: Corpus) -> float:
    """CIDEr-D of a caption, from 0 to 10: 10 times the mean similarity over n and references."""
    weights = corpus.weights(candidate)
    total = sum(_similarity(weights, candidate, text, corpus) for text in references)
    return 10 * total / len(references)


def _similarity(
    weights: Sequence[Mapping[Gram, float]], candidate: str, reference: str, corpus: Corpus
) -> float:
    other = corpus.weights(reference)
    longer = len(_WORD.findall(candidate.lower())) - len(_WORD.findall(reference.lower()))
    total = 0.0
    for mine, theirs in zip(weights, other, strict=True):
        product = sum(min(w, theirs.get(g, 0.0)) * theirs.get(g, 0.0) for g, w in mine.items())
        norms = _norm(mine) * _norm(theirs)
        total += product / norms if norms else 0.0
    return total / N * math.exp(-(longer**2) / (2 * SIGMA**2))


def _norm(weights: Mapping[Gram, float]) -> float:
    return math.sqrt(sum(w * w for w in weights.values()))
