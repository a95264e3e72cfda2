"""Ctrl-C that something swallows is met again; a signal to end is no failure."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import SimpleNamespace

import pytest

from studies.execution import run
from studies.execution.interrupt import Interrupt


def test_a_swallowed_interrupt_is_met_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        interrupt.check()
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt.check()
    assert signal.getsignal(signal.SIGINT) is before


def test_a_block_that_cannot_be_left_halfway_ends_before_the_interrupt() -> None:
    ended = False
    with Interrupt() as interrupt, pytest.raises(KeyboardInterrupt), interrupt.deferred():
        os.kill(os.getpid(), signal.SIGINT)
        ended = True
    assert ended


def test_a_terminated_emulation_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from its journal; that of code which exits by itself is a failure."""
    codes = {"a": "no microphone", "b": signal.SIGTERM}  # Ray's handler exits by its number
    begun = []

    def emulate(self: object, cell: SimpleNamespace, watch: object) -> None:
        begun.append(cell.key)
        sys.exit(codes[cell.key])

    monkeypatch.setattr(run.SpecRunner, "__init__", lambda *_: None)
    monkeypatch.setattr(run.SpecRunner, "emulate", emulate)
    own = SimpleNamespace(
        _study=None,
        _folder=None,
        _features=None,
        _to_evaluate=lambda cells: cells,
        _blocked=lambda cell: None,
    )
    cells = [SimpleNamespace(key=key, emulate=True) for key in "abc"]
    with pytest.raises(SystemExit):
        run._StudyRun._emulate(own, cells, SimpleNamespace(watch=None))
    assert begun == ["a", "b"]
