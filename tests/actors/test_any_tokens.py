"""Training whose steps draw token lengths: what is sent, and what does not change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from actors import Checkpoints, Device, Engine, InlineEngine
from actors.messages import StreamRequest
from channel_models import Frame, named_air
from tokcom_core.systems import Phase, TokenLengths

from .conftest import TOKENS, NetworkParts, PartsOf, check_resumption

LENGTHS = ({"audio": 6, "vision": 6}, {"audio": 50, "vision": 6}, {"audio": 6, "vision": 117})

Losses = list[dict[str, float]]


def _phases(parts: NetworkParts, lengths: Sequence[TokenLengths]) -> tuple[Phase, ...]:
    return tuple(replace(phase, any_tokens=tuple(lengths)) for phase in parts.phases(steps=6))


def _train(
    parts: NetworkParts, lengths: Sequence[TokenLengths], folder: Path, engine: Engine | None = None
) -> tuple[Losses, dict[str, torch.Tensor]]:
    """Every phase, with checkpoints in ``folder``."""
    losses: Losses = []
    with parts.network(engine or InlineEngine()) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        for phase in _phases(parts, lengths):
            losses += network.train(phase, Checkpoints(folder / phase.name, 2))
        return losses, network.state()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool, int]]:
    """Stream, whether it is a training's, and number of tokens of each frame."""
    found: list[tuple[str, bool, int]] = []
    transmit = Device.transmit

    def recorded(device: Device, request: StreamRequest) -> Frame:
        frame = transmit(device, request)
        found.append((frame.stream, request.training, frame.symbols.shape[1] // frame.block))
        return frame

    monkeypatch.setattr(Device, "transmit", recorded)
    return found


def test_every_step_sends_one_of_the_lengths_and_tests_their_own(
    parts_of: PartsOf, sent: list[tuple[str, bool, int]]
) -> None:
    parts = parts_of()
    with parts.network() as network:
        network.set_channel(named_air("awgn"), 6.0)
        for phase in _phases(parts, LENGTHS):
            network.train(phase)
        counts = {
            medium: [count for stream, training, count in sent if training and stream == medium]
            for medium in TOKENS
        }
        steps = list(zip(counts["audio"], counts["vision"], strict=True))
        assert len(steps) == 2 * 6
        assert set(steps) == {(6, 6), (50, 6), (6, 117)}
        assert steps[:6] != steps[6:]  # each phase draws its own
        sent.clear()
        network.evaluate(parts.served, "test", 8)
    assert {count for stream, _, count in sent if stream in TOKENS} == {6}


def test_an_interrupted_training_goes_on_with_the_same_lengths(
    parts_of: PartsOf, tmp_path: Path
) -> None:
    whole = _train(parts_of(), LENGTHS, tmp_path / "whole")
    check_resumption(partial(_train, parts_of(), LENGTHS), whole, tmp_path, (7, 17))


def test_one_length_to_draw_from_is_the_training_at_that_length(
    parts_of: PartsOf, tmp_path: Path
) -> None:
    losses, state = _train(parts_of(), [TOKENS], tmp_path / "drawn")
    usual, expected = _train(parts_of(), [], tmp_path / "usual")
    assert losses == usual
    for name, tensor in state.items():
        assert torch.equal(expected[name], tensor), name
