"""Ctrl-C that something swallows is met again."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest

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
