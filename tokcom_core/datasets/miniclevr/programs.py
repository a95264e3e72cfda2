"""CLEVR's functional programs: how they are put together, and what they return for a scene.

A program is CLEVR's own JSON: a list of steps ``{"function", "inputs", "value_inputs"}``, where
``inputs`` are indices of earlier steps. Its functions are those of CLEVR that MiniCLEVR needs.
"""

from __future__ import annotations

from typing import Any, TypedDict

from .scene import Scene


class Step(TypedDict):
    """One call of a function."""

    function: str
    inputs: list[int]
    value_inputs: list[str]


Program = list[Step]


def call(program: Program, function: str, *inputs: int, value: str | None = None) -> int:
    """Adds a step to ``program``; returns its index."""
    values = [] if value is None else [value]
    program.append(Step(function=function, inputs=list(inputs), value_inputs=values))
    return len(program) - 1


def select(program: Program, described: dict[str, str], among: int | None = None) -> int:
    """Adds the filters of a description to ``program``; returns the index of the last.

    Args:
        program: Receives the steps.
        described: Attributes of the description with their values.
        among: Step that returns the objects to choose from; the whole scene by default.
    """
    selected = call(program, "scene") if among is None else among
    for attribute, value in described.items():
        selected = call(program, f"filter_{attribute}", selected, value=value)
    return selected


def run(program: Program, scene: Scene) -> str:
    """The answer of a program, one of CLEVR's 28.

    Raises:
        ValueError: if ``unique`` meets no object or several.
    """
    values: list[Any] = []
    for step in program:
        arguments = [values[i] for i in step["inputs"]] + step["value_inputs"]
        values.append(_call(step["function"], arguments, scene))
    last = values[-1]
    return {True: "yes", False: "no"}[last] if isinstance(last, bool) else str(last)


def _call(function: str, arguments: list[Any], scene: Scene) -> Any:
    """What a function returns: objects (indices), one object, a number, a word or a truth value."""
    name, _, attribute = function.partition("_")
    first, second = (*arguments, None, None)[:2]
    match name, attribute:
        case "scene", _:
            return list(range(len(scene.solids)))
        case "filter", _:
            return [i for i in first if scene.solids[i].value(attribute) == second]
        case "relate", _:
            return list(scene.related(second, first))
        case "unique", _:
            if len(first) != 1:
                raise ValueError(f"{len(first)} objects are meant, which should be one")
            return first[0]
        case "exist", _:
            return bool(first)
        case "count", _:
            return len(first)
        case "query", _:
            return scene.solids[first].value(attribute)
        case "less", "than":
            return first < second
        case "greater", "than":
            return first > second
        case "equal", _:  # equal_integer compares two numbers, equal_color two words
            return first == second
    raise ValueError(f"no function {function!r} among those of MiniCLEVR")
