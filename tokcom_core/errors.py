"""Messages of errors, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """The first line of an error's message that is not empty; its type if there is none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next(filter(None, lines), type(error).__name__)
