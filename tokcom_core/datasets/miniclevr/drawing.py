"""Pictures to be drawn: two solids of different shapes in nine cells, and wishes for them.

The nine cells are the upper left ones of a MiniCLEVR picture. A caption tells everything, as
MiniCLEVR's captions do. A *wish* tells it indirectly and in any order, and never names a place: it
says which attributes are the same, what a solid is not, and how one solid stands to the other. All
words of wishes are words of the pocket language model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .render import draw
from .scene import (
    ATTRIBUTES,
    CELL_PIXELS,
    Scene,
    Solid,
    caption,
    sample_scene,
)

DRAWN_CELLS = 3
"""Columns, and rows, of cells of a picture to be drawn."""
DRAWN_PIXELS = DRAWN_CELLS * CELL_PIXELS
DRAWN_OBJECTS = 2

_SAME_PROB = 0.3
"""How often an attribute of the second solid is copied from the first; others may be equal too."""
_SAID_SAME_PROB, _NOT_PROB = 0.67, 0.25
"""How often an equal attribute is told as equal, and one with two values by what it is not."""
_FOLDS = 5
_TOLD = tuple(attribute for attribute in ATTRIBUTES if attribute != "shape")
"""Attributes that a wish tells of a solid, while the shape serves as the solid's name."""
_SPOKEN = {"left": "left of", "right": "right of", "front": "in front of", "behind": "behind"}
_OPPOSITE = {"left": "right", "right": "left", "front": "behind", "behind": "front"}
_PLACES = {"left": ((0, 1), (2, 1)), "behind": ((1, 0), (1, 2))}
"""Cells (column, row) that a caption gives two solids, by how the first stands to the second."""


@dataclass(frozen=True)
class Wish:
    """A wish and what it means.

    Attributes:
        text: The wish in words.
        scene: Two solids in reading order, at the places that its caption gives them.
        relation: How the first stands to the second, ``left`` or ``behind``.
    """

    text: str
    scene: Scene
    relation: str

    @property
    def plain(self) -> str:
        """What is wished for with nothing left to infer: attributes and relation, no places."""
        first, second = (" ".join(solid.words[:-2]) for solid in self.scene.solids)
        return f"there is a {first} {_SPOKEN[self.relation]} a {second} ."

    @property
    def caption(self) -> str:
        """The caption of a picture that fulfils the wish."""
        return caption(self.scene)


def sample_drawn_scene(rng: np.random.Generator) -> Scene:
    """Draws two solids with any attributes, anywhere in the nine cells."""
    return sample_scene(rng, (DRAWN_OBJECTS, DRAWN_OBJECTS), DRAWN_CELLS)


def draw_cells(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture of nine cells, ``[DRAWN_PIXELS, DRAWN_PIXELS, 3]``, uint8."""
    return draw(scene, rng)[:DRAWN_PIXELS, :DRAWN_PIXELS]


def sample_wish(rng: np.random.Generator, held_out: bool) -> Wish:
    """Draws what is wished for, then the words.

    Args:
        rng: Source of all random draws.
        held_out: Whether it is a wish to evaluate with, rather than one to train on. A fifth of
            what can be wished for is held out, so that no wish to train on means the same.
    """
    wish = _sample_wish(rng)
    while _is_held_out(wish.scene) != held_out:
        wish = _sample_wish(rng)
    return wish


def _is_held_out(scene: Scene) -> bool:
    return sum(value for solid in scene.solids for value in solid.values) % _FOLDS == 0


def _sample_wish(rng: np.random.Generator) -> Wish:
    relation = str(rng.choice(list(_PLACES)))
    shapes = rng.permutation(len(ATTRIBUTES["shape"]))[:DRAWN_OBJECTS]
    values = [[int(rng.integers(len(ATTRIBUTES[name]))) for name in _TOLD] for _ in shapes]
    for at in range(len(_TOLD)):
        if rng.random() < _SAME_PROB:
            values[1][at] = values[0][at]
    solids = [
        _place(Solid((size, color, material, int(shape)), 0, 0), place)
        for (size, color, material), shape, place in zip(
            values, shapes, _PLACES[relation], strict=True
        )
    ]
    scene = Scene(tuple(solids))
    return Wish(_words(scene, relation, rng), scene, relation)


def _place(solid: Solid, cell: tuple[int, int]) -> Solid:
    """The solid in the middle of a cell, or as near as its size allows."""
    inside = solid.radius_pixels + 1
    x, y = (
        min(max(at * CELL_PIXELS + CELL_PIXELS // 2, inside), DRAWN_PIXELS - inside) for at in cell
    )
    return replace(solid, x_pixels=x, y_pixels=y)


def _words(scene: Scene, relation: str, rng: np.random.Generator) -> str:
    one, other = (scene.solids[i] for i in rng.permutation(DRAWN_OBJECTS))
    equal = [name for name in _TOLD if one.value(name) == other.value(name)]
    same = [name for name in equal if rng.random() < _SAID_SAME_PROB]
    first, sentences = _describe(one, (), rng)
    second, more = _describe(other, same, rng)
    sentences += [*more, _relate(scene, relation, rng)]
    if same:
        sentences.append(_compare(other, one, same))
    opening = [f"a {first} and a {second} ."]
    if rng.random() < 0.5:
        opening = [f"there is a {solid} ." for solid in (first, second)]
    parts = [*opening, *sentences]
    return " ".join(parts[i] for i in rng.permutation(len(parts)))


def _describe(
    solid: Solid, untold: list[str] | tuple[()], rng: np.random.Generator
) -> tuple[str, list[str]]:
    """A solid with the attributes that are told directly, and sentences that say what it is not."""
    shape, adjectives, sentences = solid.value("shape"), [], []
    for name in _TOLD:
        if name in untold:
            continue
        values, value = ATTRIBUTES[name], solid.value(name)
        if len(values) == 2 and rng.random() < _NOT_PROB:
            (opposite,) = set(values) - {value}
            sentences.append(f"the {shape} is not {opposite} .")
        else:
            adjectives.append(value)
    ordered = [adjectives[i] for i in rng.permutation(len(adjectives))]
    return " ".join([*ordered, shape]), sentences


def _compare(solid: Solid, to: Solid, same: list[str]) -> str:
    shape, other = solid.value("shape"), to.value("shape")
    return f"the {shape} is to have the same {' and '.join(same)} as the {other} ."


def _relate(scene: Scene, relation: str, rng: np.random.Generator) -> str:
    first, second = (solid.value("shape") for solid in scene.solids)
    if rng.random() < 0.5:
        return f"the {first} is {_SPOKEN[relation]} the {second} ."
    return f"the {second} is {_SPOKEN[_OPPOSITE[relation]]} the {first} ."
