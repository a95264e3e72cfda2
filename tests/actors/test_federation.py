"""Split-federated training: users' own projections, averaged by their samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from actors import (
    Checkpoints,
    Federation,
    InlineEngine,
    Network,
    StreamInput,
    Training,
)
from actors.training.federation import UserProjections
from channel_models import named_air
from tokcom_core.transceiver import TokenTransmitter

from .conftest import Interrupted, NetworkParts

TRAINING = Training(6, 1e-2, "linear")
ROUNDS = [(0, 1, 4), (1, 2, 5), (0, 3, 6), (2, 5, 8), (1, 4, 7), (0, 1, 2)]


def _loss(symbols: torch.Tensor, target: float) -> torch.Tensor:
    return (torch.view_as_real(symbols) - target).square().mean()


def test_users_learn_alone_and_are_averaged_by_their_samples() -> None:
    """Against as many plain layers with optimisers of their own, averaged by hand."""
    torch.manual_seed(0)
    common = TokenTransmitter(4, 6, is_text=False)
    layers = [torch.nn.Linear(4, 6) for _ in range(3)]
    for layer in layers:
        layer.load_state_dict(common.projection.state_dict())
    projections = UserProjections(Federation(users=3, synchronise_every=2), common)
    projections.start(TRAINING)
    optimisers = [torch.optim.AdamW(layer.parameters(), lr=1e-2) for layer in layers]
    seen = [0, 0, 0]
    for number, rows in enumerate(ROUNDS):
        tokens = torch.randn(3, 2, 4)
        valid = torch.ones(3, 2, dtype=torch.bool)
        symbols, marks = projections.transmit(tokens, valid, rows)
        assert marks.all()
        parts = [
            torch.view_as_complex(layers[row % 3](t).reshape(-1, 2))
            for row, t in zip(rows, tokens, strict=True)
        ]
        torch.testing.assert_close(symbols, torch.stack(parts))
        _loss(symbols, number).backward()
        projections.step()
        _loss(torch.stack(parts), number).backward()
        for user in {row % 3 for row in rows}:
            torch.nn.utils.clip_grad_norm_(layers[user].parameters(), 1.0)
            optimisers[user].param_groups[0]["lr"] = 1e-2 * (1 - number / 6)
            optimisers[user].step()
            optimisers[user].zero_grad()
            seen[user] += sum(row % 3 == user for row in rows)
        if number % 2 == 1:
            for name in ("weight", "bias"):
                mean = sum(
                    n * getattr(layer, name).detach() for n, layer in zip(seen, layers, strict=True)
                ) / sum(seen)
                for layer in layers:
                    getattr(layer, name).data.copy_(mean)
                torch.testing.assert_close(getattr(common.projection, name), mean)
            seen = [0, 0, 0]


def _train(parts: NetworkParts, folder: Path, engine: InlineEngine) -> dict[str, torch.Tensor]:
    devices, station = parts
    federated = [replace(d, federation=Federation(users=7, synchronise_every=3)) for d in devices]
    task = [
        StreamInput("vision", "train"),
        StreamInput("audio", "train"),
        StreamInput("question", "train"),
    ]
    with Network(federated, station, engine) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        network.fine_tune(TRAINING, task, 50, 8, Checkpoints(folder, every=2))
        return network.state()


def test_a_federation_goes_on_where_it_was(
    parts_of: Callable[..., NetworkParts], tmp_path: Path
) -> None:
    whole = _train(parts_of(), tmp_path / "whole", InlineEngine())
    with pytest.raises(KeyboardInterrupt):
        _train(parts_of(), tmp_path / "parts", Interrupted(8))
    resumed = _train(parts_of(), tmp_path / "parts", InlineEngine())
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    shared = parts_of()
    with Network(*shared) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        task = [
            StreamInput("vision", "train"),
            StreamInput("audio", "train"),
            StreamInput("question", "train"),
        ]
        network.fine_tune(TRAINING, task, 50, 8)
        state = network.state()
    assert not torch.equal(state["vision.projection.weight"], whole["vision.projection.weight"])


def test_exchanged_weights_are_counted_both_ways() -> None:
    federation = Federation(users=5, synchronise_every=4)
    assert federation.exchanged_bits(weights=100, rounds=10) == 2 * 32 * 100 * 5 * 3
