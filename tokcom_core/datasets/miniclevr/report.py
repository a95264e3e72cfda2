"""How well answers to each question type can be guessed: the share of the most frequent one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .language import FAMILIES, TYPES
from .write import ImagePlan


@dataclass(frozen=True)
class AnswerRow:
    """Answers to the questions of one type; ``share`` is that of the most frequent one."""

    type: str
    questions: int
    answers: int
    most_frequent: str
    share: float


def answer_report(plans: Sequence[ImagePlan]) -> list[AnswerRow]:
    """One row for each question type, over all images of ``plans``."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in TYPES}
    for plan in plans:
        for question in plan.questions():
            counts[FAMILIES[question.family][0]][question.answer] += 1
    rows = []
    for kind, answers in counts.items():
        (best, times), total = answers.most_common(1)[0], sum(answers.values())
        rows.append(AnswerRow(kind, total, len(answers), best, times / total))
    return rows
