"""Questions about a scene: nine types, with CLEVR's programs and in its style.

What a question names is drawn before its answer, and only from what allows each answer. The coin
for yes or no is thus never tossed again because a scene has no such question, and an answer cannot
be guessed from the words. ``docs/miniclevr.md`` has the majority of each type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, permutations, product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .programs import Program, call, run, select
from .scene import ATTRIBUTES, RELATIONS, Scene

Named = tuple[str, ...]
"""Attributes that a description names."""
Description = dict[str, str]
"""Named attributes with their values."""
T = TypeVar("T")

KINDS: tuple[Named, ...] = tuple(
    named for count in range(4) for named in combinations(ATTRIBUTES, count)
)
"""What descriptions name: no attribute, or up to three."""
DESCRIPTIONS: dict[Named, list[Description]] = {
    named: [
        dict(zip(named, values, strict=True))
        for values in product(*(ATTRIBUTES[attribute] for attribute in named))
    ]
    for named in KINDS
}
_PLACE = {"left": "left of", "right": "right of", "front": "in front of", "behind": "behind"}
ANSWERS = (
    "yes",
    "no",
    *map(str, range(11)),
    *(value for values in ATTRIBUTES.values() for value in values),
)
"""CLEVR's 28 answers; MiniCLEVR counts to six."""
NOUNS = ("thing", *ATTRIBUTES["shape"])
WORDS = frozenset(
    f"{' '.join(_PLACE.values())} is are there a the how many as fewer more than what does have "
    f"same {' '.join(ATTRIBUTES)} {' '.join(NOUNS)} {'s '.join(NOUNS)}s ?".split()
).union(ANSWERS)
"""All words of questions and answers."""


@dataclass(frozen=True)
class Question:
    """A question in words and as a program.

    ``family`` is the index of its template (:data:`FAMILIES`). ``meant`` holds the solids that
    each description of the question matches, in the order of the words.
    """

    text: str
    program: Program
    answer: str
    family: int
    meant: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Facts:
    """A scene, and which of its solids each description matches."""

    scene: Scene

    @cached_property
    def matches(self) -> dict[Named, NDArray[np.bool_]]:
        """Which solids each description matches, ``[descriptions, solids]``, by what it names."""
        values = np.array([solid.values for solid in self.scene.solids])
        return {named: (table[:, None] == values[:, at]).all(-1) for named, table, at in _TABLES}

    def solids(self, described: Description) -> tuple[int, ...]:
        """Indices of the solids that a description matches."""
        return tuple(
            i
            for i, solid in enumerate(self.scene.solids)
            if all(solid.value(attribute) == value for attribute, value in described.items())
        )

    def unique(self, without: str | None = None) -> dict[int, list[Description]]:
        """By solid, the descriptions that match only this one and do not name ``without``."""
        by_solid: dict[int, list[Description]] = {}
        for named, matches in self.matches.items():
            if without not in named:
                for row in np.flatnonzero(matches.sum(1) == 1):
                    solid = int(matches[row].argmax())
                    by_solid.setdefault(solid, []).append(DESCRIPTIONS[named][row])
        return by_solid


_TABLES = [
    (
        named,
        np.array(list(product(*(range(len(ATTRIBUTES[a])) for a in named)))),
        [list(ATTRIBUTES).index(a) for a in named],
    )
    for named in KINDS
]


def phrase(described: Description, plural: bool = False) -> str:
    """``large red metal thing``: a description in words."""
    words = [value for attribute, value in described.items() if attribute != "shape"]
    return " ".join([*words, described.get("shape", "thing") + "s" * plural])


def _one(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]


def _rows(named: Named, chosen: Any) -> list[Description]:
    """The descriptions that ``chosen``, a mask ``[descriptions]``, selects."""
    return [DESCRIPTIONS[named][row] for row in np.flatnonzero(chosen)]


Draft = tuple[str, Program, tuple[Description, ...]]
"""Words, program, and the descriptions in the order of the words."""
Ask = Callable[[Facts, np.random.Generator], "Draft | None"]
"""Asks about a scene; None where it allows no such question."""


def _exist(facts: Facts, rng: np.random.Generator) -> Draft | None:
    options = {
        named: (_rows(named, matches.any(1)), _rows(named, ~matches.any(1)))
        for named, matches in facts.matches.items()
    }
    named = _one([named for named, both in options.items() if all(both)], rng)
    described = _one(options[named][int(rng.integers(2))], rng)
    program: Program = []
    call(program, "exist", select(program, described))
    return f"is there a {phrase(described)} ?", program, (described,)


def _count(facts: Facts, rng: np.random.Generator) -> Draft | None:
    named = _one([named for named in KINDS if len(named) <= 2], rng)
    counts = facts.matches[named].sum(1)
    described = _one(_rows(named, counts == _one(np.unique(counts).tolist(), rng)), rng)
    program: Program = []
    call(program, "count", select(program, described))
    return f"how many {phrase(described, plural=True)} are there ?", program, (described,)


def _compare_integer(function: str, words: str) -> Ask:
    """Asks to compare the numbers of solids with two values of one attribute.

    The descriptions differ in nothing else, so that neither number is likely to be larger.
    """

    def ask(facts: Facts, rng: np.random.Generator) -> Draft | None:
        options = []
        for attribute in ATTRIBUTES:
            counts = facts.matches[(attribute,)].sum(1)
            pairs: tuple[list[tuple[int, int]], ...] = ([], [])
            for a, b in permutations(range(len(counts)), 2):
                if counts[a] or counts[b]:
                    pairs[int(_COMPARE[function](counts[a], counts[b]))].append((a, b))
            options += [(attribute, pairs)] if all(pairs) else []
        if not options:
            return None
        attribute, pairs = _one(options, rng)
        one, other = (
            DESCRIPTIONS[(attribute,)][row] for row in _one(pairs[int(rng.integers(2))], rng)
        )
        program: Program = []
        numbers = [call(program, "count", select(program, d)) for d in (one, other)]
        call(program, function, *numbers)
        text = words.format(phrase(one, plural=True), phrase(other, plural=True))
        return text, program, (one, other)

    return ask


_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "equal_integer": lambda a, b: a == b,
    "less_than": lambda a, b: a < b,
    "greater_than": lambda a, b: a > b,
}


def _query(attribute: str) -> Ask:
    def ask(facts: Facts, rng: np.random.Generator) -> Draft | None:
        unique = facts.unique(without=attribute)
        if not unique:
            return None
        described = _one(unique[_one(list(unique), rng)], rng)
        program: Program = []
        solid = call(program, "unique", select(program, described))
        call(program, f"query_{attribute}", solid)
        return f"what {attribute} is the {phrase(described)} ?", program, (described,)

    return ask


def _compare_attribute(attribute: str) -> Ask:
    def ask(facts: Facts, rng: np.random.Generator) -> Draft | None:
        unique, solids = facts.unique(without=attribute), facts.scene.solids
        pairs: tuple[list[tuple[int, int]], ...] = ([], [])
        for a, b in permutations(unique, 2):
            pairs[solids[a].value(attribute) == solids[b].value(attribute)].append((a, b))
        if not all(pairs):
            return None
        one, other = (_one(unique[i], rng) for i in _one(pairs[int(rng.integers(2))], rng))
        program: Program = []
        values = [
            call(program, f"query_{attribute}", call(program, "unique", select(program, d)))
            for d in (one, other)
        ]
        call(program, f"equal_{attribute}", *values)
        text = f"does the {phrase(one)} have the same {attribute} as the {phrase(other)} ?"
        return text, program, (one, other)

    return ask


def _related_exist(facts: Facts, rng: np.random.Generator) -> Draft | None:
    """Asks whether something is there; if the answer is no, it is elsewhere in the scene."""
    anchored = _anchor(facts, rng)
    if anchored is None:
        return None
    anchor, relation, related = anchored
    options = {}
    for named in KINDS[1:]:
        matches = facts.matches[named]
        here, anywhere = matches[:, related].any(1), matches.any(1)
        both = (_rows(named, here), _rows(named, anywhere & ~here))
        options.update({named: both} if all(both) else {})
    if not options:
        return None
    described = _one(options[_one(list(options), rng)][int(rng.integers(2))], rng)
    program: Program = []
    call(program, "exist", _select_related(program, anchor, relation, described))
    text = f"is there a {phrase(described)} {_PLACE[relation]} the {phrase(anchor)} ?"
    return text, program, (described, anchor)


def _related_count(facts: Facts, rng: np.random.Generator) -> Draft | None:
    anchored = _anchor(facts, rng)
    if anchored is None:
        return None
    anchor, relation, related = anchored
    named = _one([named for named in KINDS if len(named) <= 1], rng)
    counts = facts.matches[named][:, related].sum(1)
    described = _one(_rows(named, counts == _one(np.unique(counts).tolist(), rng)), rng)
    program: Program = []
    call(program, "count", _select_related(program, anchor, relation, described))
    many = phrase(described, plural=True)
    text = f"how many {many} are {_PLACE[relation]} the {phrase(anchor)} ?"
    return text, program, (described, anchor)


def _anchor(facts: Facts, rng: np.random.Generator) -> tuple[Description, str, list[int]] | None:
    """A description of a solid, a relation to it, and the solids in that relation, at least one."""
    unique = facts.unique()
    options = [
        (solid, relation, related)
        for solid in unique
        for relation in RELATIONS
        if (related := facts.scene.related(relation, solid))
    ]
    if not options:
        return None
    solid, relation, related = _one(options, rng)
    return _one(unique[solid], rng), relation, list(related)


def _select_related(
    program: Program, anchor: Description, relation: str, described: Description
) -> int:
    solid = call(program, "unique", select(program, anchor))
    return select(program, described, call(program, "relate", solid, value=relation))


FAMILIES: tuple[tuple[str, Ask], ...] = (
    ("exist", _exist),
    ("count", _count),
    (
        "compare_integer",
        _compare_integer("equal_integer", "are there as many {} as there are {} ?"),
    ),
    ("compare_integer", _compare_integer("less_than", "are there fewer {} than {} ?")),
    ("compare_integer", _compare_integer("greater_than", "are there more {} than {} ?")),
    *((f"query_{attribute}", _query(attribute)) for attribute in ATTRIBUTES),
    *(("compare_attribute", _compare_attribute(attribute)) for attribute in ATTRIBUTES),
    ("relation", _related_exist),
    ("relation", _related_count),
)
"""(type, how to ask): the index is CLEVR's ``question_family_index``."""
TYPES = tuple(dict.fromkeys(kind for kind, _ in FAMILIES))
"""The nine types of questions."""


def ask(scene: Scene, types: Sequence[str | int], rng: np.random.Generator) -> list[Question]:
    """Asks one question of each of ``types``, except those that the scene does not allow.

    A type may be given by the index of one of its families, which is asked if the scene allows it;
    otherwise, another family of the type is.
    """
    facts = Facts(scene)
    questions = (_ask_one(facts, kind, rng) for kind in types)
    return [question for question in questions if question is not None]


def _ask_one(facts: Facts, kind: str | int, rng: np.random.Generator) -> Question | None:
    """A question of a random family of a type, or of another if the scene does not allow that."""
    first = [kind] if isinstance(kind, int) else []
    type_name = FAMILIES[kind][0] if isinstance(kind, int) else kind
    families = [index for index, (of, _) in enumerate(FAMILIES) if of == type_name]
    for family in (*first, *rng.permutation(families)):
        draft = FAMILIES[family][1](facts, rng)
        if draft is not None:
            text, program, described = draft
            meant = tuple(facts.solids(d) for d in described)
            return Question(text, program, run(program, facts.scene), int(family), meant)
    return None
