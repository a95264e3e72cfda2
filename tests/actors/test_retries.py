"""What dying processes break off is done again, but not for ever."""

from __future__ import annotations

import pytest

from actors import MAX_RETRIES, PeerLostError, RetriesExhaustedError, StateLostError, retrying


def test_an_action_is_done_again_until_it_succeeds() -> None:
    deaths = [PeerLostError("killed")] * MAX_RETRIES

    def action() -> str:
        if deaths:
            raise deaths.pop()
        return "done"

    assert retrying(action, "a batch") == "done"


def test_whoever_dies_again_and_again_is_given_up_at_every_level() -> None:
    calls = []

    def action() -> None:
        calls.append(1)
        raise PeerLostError("killed")

    with pytest.raises(RetriesExhaustedError, match="a batch broke off 11 times: killed"):
        retrying(lambda: retrying(action, "a batch"), "a stage")
    assert len(calls) == 1 + MAX_RETRIES


def test_other_errors_are_not_tried_again() -> None:
    calls = []

    def action() -> None:
        calls.append(1)
        raise StateLostError("what was learnt is lost")

    with pytest.raises(StateLostError):
        retrying(action, "a batch")
    assert len(calls) == 1
