"""Errors in one line: of configs, and of failed cells."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from tokcom_core.config import Place
from tokcom_core.errors import first_line, instead_of


def explain(
    error: ValidationError,
    config: Any = None,
    blame: Callable[[ErrorDetails], str] = lambda item: "",
) -> str:
    """The message of a ValidationError: key, value and remedy of each error.

    Args:
        error: Error that pydantic raised.
        config: Model, or union of models, that was validated; for suggestions of keys.
        blame: Returns the file, or override, that an error comes from; its message begins with it.
    """
    by_place: dict[Place, list[ErrorDetails]] = {}
    for item in _telling(error.errors()):
        by_place.setdefault(_place(item), []).append(item)
    by_source: dict[str, list[str]] = {}
    for items in by_place.values():
        by_source.setdefault(blame(items[0]), []).extend(_complaints(items, config))
    return "; ".join(
        f"{blamed}: {'; '.join(found)}" if blamed else "; ".join(found)
        for blamed, found in by_source.items()
    )


def _telling(items: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """The errors without those that only follow from others.

    A union has an error for each of its types: a bad mapping is, for instance, also no number.
    """
    found = [item for item in items if item["type"] != "default_factory_not_called"]
    certain = [_place(item) for item in found if not _is_of_a_kind(item)]
    return [
        item
        for item in found
        if not _is_of_a_kind(item)
        or not any(place[: len(_place(item))] == _place(item) for place in certain)
    ]


def _is_of_a_kind(item: ErrorDetails) -> bool:
    """Whether an error says that a value has another type: a mapping, say, instead of a word."""
    no_word = not isinstance(item["input"], str | int | float)
    return item["type"].endswith("_type") or (item["type"] == "literal_error" and no_word)


_OF_UNIONS = ("int", "float", "str", "bool")
"""Parts of a place by which pydantic tells the types of a union apart."""


def _place(item: ErrorDetails) -> Place:
    """Place of an error, without the names of types and validators that pydantic adds."""
    return tuple(
        part
        for part in item["loc"]
        if not (isinstance(part, str) and ("[" in part or part in _OF_UNIONS))
    )


_SHOULD = {
    "missing": "is missing",
    "too_short": "should have {min_length} or more values",
    "greater_than": "should be above {gt:g}",
    "greater_than_equal": "should be at least {ge:g}",
    "less_than": "should be below {lt:g}",
    "less_than_equal": "should be at most {le:g}",
    "finite_number": "should be finite",
    "literal_error": "should be {expected}",
    "bool_parsing": "should be true or false",
    "bool_type": "should be true or false",
    "int_from_float": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_type": "should be a whole number",
    "float_parsing": "should be a number",
    "float_type": "should be a number",
    "string_type": "should be text",
    "string_pattern_mismatch": "should be letters, digits, '.', '_' or '-', no sign at its start",
    "list_type": "should be a list",
    "tuple_type": "should be a list",
    "dict_type": "should be a mapping of keys to values",
    "mapping_type": "should be a mapping of keys to values",
    "model_type": "should be a mapping of keys to values",
}
"""What a value should be, by pydantic's type of error."""


def _complaints(items: Sequence[ErrorDetails], config: Any) -> list[str]:
    """What is wrong at one place: for a union, all that the value should be in one message.

    If one of its types takes the value but for what it means, only that counts.
    """
    if meant := [item for item in items if item["type"] == "value_error"]:
        return [_complaint(item, config) for item in meant]
    if len(items) > 1 and all(item["type"] in _SHOULD for item in items):
        shoulds = [_SHOULD[item["type"]].format(**item.get("ctx", {})) for item in items]
        if "should be a number" in shoulds:
            shoulds = [own for own in shoulds if own != "should be a whole number"]
        first, *others = dict.fromkeys(shoulds)
        every = " or ".join([first, *(own.removeprefix("should be ") for own in others)])
        return [f"{_key(items[0])} {every}{_shown(items[0])}"]
    return [_complaint(item, config) for item in items]


def _key(item: ErrorDetails) -> str:
    return ".".join(str(part) for part in _place(item))


def _complaint(item: ErrorDetails, config: Any) -> str:
    place, key = _place(item), _key(item)
    if item["type"] == "extra_forbidden":
        return f"no key {key!r}{instead_of(str(place[-1]), _keys_at(config, place[:-1]))}"
    shown = _shown(item)
    if (should := _SHOULD.get(item["type"])) is not None and key:
        keys = _keys_at(config, place) if item["type"] == "model_type" else []
        remedy = f"; its keys are {', '.join(keys)}" if keys else ""
        return f"{key} {should.format(**item.get('ctx', {}))}{shown}{remedy}"
    message = item["msg"].removeprefix("Value error, ")
    return f"{key}: {message}{shown}" if key else message


def _shown(item: ErrorDetails) -> str:
    """What was given, if it is short; a list, only where it was one instead of a single value."""
    value = item["input"]
    if isinstance(value, str | int | float):
        return f" (got {value!r})"
    if item["type"] not in _SHOULD or item["type"].startswith(("list", "tuple", "too_")):
        return ""
    if value is None:
        return " (it is empty)"
    return " (got a list; take one value)" if isinstance(value, list | tuple) else ""


def _keys_at(config: Any, place: Place) -> list[str]:
    """The keys of the model at a place below a config; tags of unions are parts of a place."""
    models = list(_models(config))
    for part in place:
        if isinstance(part, int):
            continue
        below = [m.model_fields[part].annotation for m in models if part in m.model_fields]
        if below:
            models = [model for annotation in below for model in _models(annotation)]
        else:
            models = [m for m in models if part == m.__name__ or part in _tags(m)]
    return list(dict.fromkeys(name for model in models for name in model.model_fields))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """All models that an annotation contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _tags(model: type[BaseModel]) -> tuple[Any, ...]:
    """Names that choose this model out of a union."""
    return get_args(model.model_fields["name"].annotation) if "name" in model.model_fields else ()


_PLACE = re.compile(r'File "([^"]+)", line (\d+)')
"""A frame of a traceback: file and line."""
_INSTALLED = re.compile(rf"^<|-packages|^{re.escape(sysconfig.get_paths()['stdlib'])}")
"""Files of Python itself, and of what has been installed."""


def reason_of(error: BaseException) -> str:
    """The first line of an error; unless it is a plain ValueError, also its type and place.

    The place is the last line that belongs neither to Python nor to an installed package.
    """
    from ray.exceptions import RayTaskError  # imported here: reading a config does not need Ray

    told = "".join(traceback.format_tb(error.__traceback__))
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        told, error = error.traceback_str, error.cause
    if isinstance(error, ValidationError):
        return explain(error)
    said = first_line(error)
    if type(error) is ValueError:
        return said
    places = [(file, line) for file, line in _PLACE.findall(told) if not _INSTALLED.search(file)]
    where = f" ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else ""
    return f"{type(error).__name__}: {said}{where}"
