"""Reasons of failures: one line of what was raised, and where."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from pydantic import BaseModel
from ray.exceptions import RayTaskError

from studies.errors import reason_of


class _Config(BaseModel):
    steps: int


def _invalid() -> Exception:
    try:
        _Config(steps="many")  # type: ignore[arg-type]
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no clip\nbut much to say"), "no clip"),
        (RuntimeError("out of memory\n  in a kernel"), "RuntimeError: out of memory"),
        (_invalid(), "steps should be a whole number"),
        (RayTaskError("f", "Traceback\n /tmp/ray/session_1", KeyError("a")), "KeyError: 'a'"),
    ],
)
def test_a_reason_is_the_first_line_of_what_was_raised(error: Exception, reason: str) -> None:
    assert reason_of(error).startswith(reason)
    assert not any(s in reason_of(error) for s in ("\n", "pydantic.dev", "/tmp/ray"))


def test_an_error_of_somebodys_own_class_says_where() -> None:
    """The innermost frame outside installed packages; Ray passes tracebacks on as text."""
    here = Path(__file__)
    try:
        [].pop()
    except IndexError as error:
        local, frame = reason_of(error), error.__traceback__
    assert frame is not None
    assert local.endswith(f"({here.name}, line {frame.tb_lineno})")
    try:
        importlib.import_module("nowhere")
    except ImportError as error:
        local, frame = reason_of(error), error.__traceback__
    assert frame is not None
    assert local.endswith(f"({here.name}, line {frame.tb_lineno})")
    remote = (
        f'Traceback\n  File "{here}", line 7, in f\n  File "/x/site-packages/a.py", line 9, in g'
    )
    assert (
        reason_of(RayTaskError("f", remote, KeyError("a")))
        == f"KeyError: 'a' ({here.name}, line 7)"
    )
