"""Captions of a scene, and questions about it in MUSIC-AVQA's words and nine types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .scene import COLUMNS, INSTRUMENTS, NUMBERS, ORDINALS, Scene, Source


@dataclass(frozen=True)
class TemplatedQuestion:
    """A question before its placeholders are filled, as MUSIC-AVQA stores it."""

    type: tuple[str, str]
    content: str
    values: tuple[str, ...]
    answer: str


def clause(scene: Scene, source: Source) -> str:
    """Everything there is to say about one source, in one clause."""
    loudness = source.loudness_name if source.sounding else "silent"
    place = f"{source.column_name} {source.row_name}" if source.visible else "offscreen"
    order = f" plays {ORDINALS[scene.order(source)]}" if source.sounding else ""
    return f"{loudness} {source.name} {place}{order}"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A scene's clauses in random order, such as ``loud violin left front plays first , ... .``."""
    clauses = [clause(scene, s) for s in scene.sources]
    return " , ".join(clauses[i] for i in rng.permutation(len(clauses))) + " ."


Ask = Callable[[Scene, np.random.Generator], "tuple[tuple[str, ...], str] | None"]
"""Returns (values of the placeholders, answer), or None where the question makes no sense."""


def _pick(items: list[Source], rng: np.random.Generator) -> Source | None:
    return items[int(rng.integers(len(items)))] if items else None


def _presence(of: Callable[[Scene], list[Source]]) -> Ask:
    """Asks whether an instrument is among ``of(scene)``.

    A fair coin decides between yes and no; the answer is no where ``of(scene)`` is empty.
    """

    def ask(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
        present = [s.name for s in of(scene)]
        absent = [name for name in INSTRUMENTS if name not in present]
        yes = bool(present) and rng.random() < 0.5
        names = present if yes else absent
        return (names[int(rng.integers(len(names)))],), "yes" if yes else "no"

    return ask


def _count(of: Callable[[Scene], list[Source]]) -> Ask:
    return lambda scene, rng: ((), NUMBERS[len(of(scene))])


def _louder(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
    """Asks about two sounding instruments of different loudness."""
    sounding = scene.sounding
    pairs = [(a, b) for a in sounding for b in sounding if a.loudness != b.loudness]
    if not pairs:
        return None
    a, b = pairs[int(rng.integers(len(pairs)))]
    assert a.loudness is not None and b.loudness is not None
    return (a.name, b.name), "yes" if a.loudness > b.loudness else "no"


def _louder_by_place(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
    """Asks about two columns with one visible instrument each, of different loudness.

    Silence is the lowest loudness.
    """
    alone = [[s for s in scene.visible if s.column == column] for column in range(len(COLUMNS))]
    level = {
        c: -1 if v[0].loudness is None else v[0].loudness
        for c, v in enumerate(alone)
        if len(v) == 1
    }
    pairs = [(a, b) for a in level for b in level if level[a] != level[b]]
    if not pairs:
        return None
    a, b = pairs[int(rng.integers(len(pairs)))]
    return (COLUMNS[a], COLUMNS[b]), "yes" if level[a] > level[b] else "no"


def _column_of_object(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
    source = _pick(scene.visible, rng)
    return None if source is None else ((source.name,), source.column_name)


def _row_of_object(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
    source = _pick(scene.visible, rng)
    return None if source is None else ((source.name,), source.row_name)


def _column_of_loudest(
    scene: Scene, rng: np.random.Generator
) -> tuple[tuple[str, ...], str] | None:
    sounding = sorted(scene.sounding, key=lambda s: -(s.loudness or 0))
    if not sounding or not sounding[0].visible:
        return None
    if len(sounding) > 1 and sounding[1].loudness == sounding[0].loudness:
        return None
    return ("loudest",), sounding[0].column_name


def _column_of_first(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
    first = scene.sounding[0] if scene.sounding else None
    return (("first",), first.column_name) if first is not None and first.visible else None


def _nth_to_come_in(scene: Scene, rng: np.random.Generator) -> tuple[tuple[str, ...], str] | None:
    sounding = scene.sounding
    if not sounding:
        return None
    n = int(rng.integers(min(len(sounding), 3)))
    return (ORDINALS[n],), sounding[n].name


def _only_visible_sound(
    scene: Scene, rng: np.random.Generator
) -> tuple[tuple[str, ...], str] | None:
    if not scene.sounding:
        return None
    return (), "yes" if all(s.visible for s in scene.sounding) else "no"


TEMPLATES: tuple[tuple[tuple[str, str], str, Ask], ...] = (
    (("Audio", "Counting"), "Is there a <Object> sound?", _presence(lambda s: s.sounding)),
    (
        ("Audio", "Counting"),
        "How many musical instruments were heard throughout the video?",
        _count(lambda s: s.sounding),
    ),
    (("Audio", "Comparative"), "Is the <Object> louder than the <Object>?", _louder),
    (
        ("Visual", "Counting"),
        "Is there a <Object> in the entire video?",
        _presence(lambda s: s.visible),
    ),
    (
        ("Visual", "Counting"),
        "How many types of musical instruments appeared in the entire video?",
        _count(lambda s: s.visible),
    ),
    (("Visual", "Location"), "Where is the <Object>?", _column_of_object),
    (("Visual", "Location"), "In which row is the <Object>?", _row_of_object),
    (
        ("Audio-Visual", "Existential"),
        "Is this sound from the instrument in the video?",
        _only_visible_sound,
    ),
    (
        ("Audio-Visual", "Counting"),
        "How many instruments are sounding in the video?",
        _count(lambda s: [x for x in s.visible if x.sounding]),
    ),
    (
        ("Audio-Visual", "Counting"),
        "How many instruments in the video did not sound from beginning to end?",
        _count(lambda s: [x for x in s.visible if not x.sounding]),
    ),
    (("Audio-Visual", "Location"), "Where is the <LL> instrument?", _column_of_loudest),
    (
        ("Audio-Visual", "Comparative"),
        "Is the instrument on the <LR> louder than the instrument on the <LR>?",
        _louder_by_place,
    ),
    (("Audio-Visual", "Temporal"), "Where is the <FL> sounding instrument?", _column_of_first),
    (("Audio-Visual", "Temporal"), "What is the <TH> instrument that comes in?", _nth_to_come_in),
)
"""(type, content, how to ask): MUSIC-AVQA's own wording wherever it has the question."""


def ask_one(scene: Scene, template: int, rng: np.random.Generator) -> TemplatedQuestion | None:
    """A question of one template, or None where it makes no sense for the scene."""
    kind, content, asker = TEMPLATES[template]
    question = asker(scene, rng)
    return None if question is None else TemplatedQuestion(kind, content, *question)


def ask(scene: Scene, count: int, rng: np.random.Generator) -> list[TemplatedQuestion]:
    """Up to ``count`` questions about a scene, no template twice."""
    order = rng.permutation(len(TEMPLATES))
    questions = (ask_one(scene, int(template), rng) for template in order)
    return [question for question in questions if question is not None][:count]
