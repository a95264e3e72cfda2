"""The retry policy for work that failed because processes died."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from .engine import PeerLostError

_T = TypeVar("_T")

MAX_RETRIES = 10
"""Maximum number of consecutive retries without progress: of the steps up to the next checkpoint,
a batch of an emulation, a phase, a trial."""


class RetriesExhaustedError(RuntimeError):
    """Processes have died too often; no caller retries."""


def retrying(
    action: Callable[[], _T], what: str, errors: tuple[type[Exception], ...] = (PeerLostError,)
) -> _T:
    """Runs an action; retries it whenever it raises one of ``errors``.

    Raises:
        RetriesExhaustedError: if it has failed too often.
    """
    for left in reversed(range(1 + MAX_RETRIES)):
        try:
            return action()
        except errors as error:
            if not left:
                count = 1 + MAX_RETRIES
                raise RetriesExhaustedError(f"{what} broke off {count} times: {error}") from error
    raise AssertionError
