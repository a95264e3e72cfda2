"""A handler of Ctrl-C that never loses it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import Any


class Interrupt(AbstractContextManager["Interrupt"]):
    """Remembers Ctrl-C while it is entered.

    A KeyboardInterrupt that is raised in a callback from compiled code (Ray's, Arrow's) is printed
    and swallowed there; :meth:`check` raises it again.
    """

    def __init__(self) -> None:
        self._asked = False
        self._deferring = False
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raises KeyboardInterrupt if Ctrl-C has been pressed."""
        if self._asked:
            raise KeyboardInterrupt

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Lets a block that cannot be left halfway end, and only then raises KeyboardInterrupt."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        self.check()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        if not self._deferring:
            raise KeyboardInterrupt
