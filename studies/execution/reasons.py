"""Why something failed, in one line for the table."""

from __future__ import annotations

from pydantic import ValidationError
from ray.exceptions import RayTaskError

from ..plan.complaints import explain


def reason_of(error: BaseException) -> str:
    """The first line of the error that was raised, without Ray's account of where it was."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    if isinstance(error, ValidationError):
        return explain(error)
    first = str(error).strip().partition("\n")[0]
    return first if type(error) is ValueError else f"{type(error).__name__}: {first}"
