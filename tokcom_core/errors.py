"""Messages of errors in one line."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path


def first_line(error: BaseException) -> str:
    """The first non-empty line of an error's message; the name of its type if there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)


def instead_of(key: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown key: the known one that was meant, or all known."""
    names = list(known)
    if close := get_close_matches(key, names, n=1):
        return f"; did you mean {close[0]!r}?"
    return f"; take some of {', '.join(names)}" if names else ""


def placed_line(error: Exception, module: str) -> str:
    """An error in one line, with its place in the code of a module.

    For example ``SyntaxError in x.py, line 53: invalid syntax``.

    Args:
        error: Error that has been raised.
        module: Name of the module in whose code to locate it.
    """
    kind, said = type(error).__name__, first_line(error)
    places = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if frame.f_globals.get("__name__") == module
    ]
    if isinstance(error, SyntaxError) and error.filename is not None:
        places, said = [(error.filename, error.lineno or 0)], error.msg
    place = f" in {Path(places[-1][0]).name}, line {places[-1][1]}" if places else ""
    return f"{kind}{place}: {said}"


@contextmanager
def in_one_line(cls: type, what: str) -> Iterator[None]:
    """Turns any error of a class from outside the package into a one-line ValueError.

    A ValueError passes unchanged: with it the class itself says what is wrong.

    Args:
        cls: The class.
        what: What is requested from it, such as the name of a method.
    """
    try:
        yield
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{cls.__name__}.{what}: {placed_line(error, cls.__module__)}") from error
