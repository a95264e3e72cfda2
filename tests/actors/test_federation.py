"""Split-federated training: users' own projections, averaged by their samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from actors import Checkpoints, Federation, InlineEngine
from actors.messages import StreamRequest
from actors.training.federation import UserModels
from channel_models import named_air
from tokcom_core.datasets.samples import Samples
from tokcom_core.systems import Phase, Stream, Training, Transmitter
from tokcom_core.systems.tokens import pack

from .conftest import Interrupted, NetworkParts, PartsOf

PHASE = Phase(name="task", inputs=(), training=Training(6, 1e-2, "linear"), batch_size=3, losses=())
AUDIO = Stream(
    name="audio", device="microphone", modality="audio", max_tokens=2, symbols_per_token=3
)
ROUNDS = [(0, 1, 4), (1, 2, 5), (0, 3, 6), (2, 5, 8), (1, 4, 7), (0, 1, 2)]


class _Linear(Transmitter):
    """Tokens of four features, projected to six."""

    def __init__(self) -> None:
        super().__init__()
        self.projection = torch.nn.Linear(4, 6)

    def trainable(self, phase: str) -> list[torch.nn.Parameter]:
        return list(self.projection.parameters())

    def read(self, stream: str, split: str, samples: Samples) -> tuple[torch.Tensor, ...]:
        raise AssertionError("the tokens are handed over")

    def forward(self, stream: str, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        (tokens,) = inputs
        return pack(self.projection(tokens), torch.ones(tokens.shape[:2], dtype=torch.bool))


def _loss(symbols: torch.Tensor, target: float) -> torch.Tensor:
    return (torch.view_as_real(symbols) - target).square().mean()


def test_users_learn_alone_and_are_averaged_by_their_samples() -> None:
    """Against as many plain layers with optimisers of their own, averaged by hand."""
    torch.manual_seed(0)
    common = _Linear()
    layers = [torch.nn.Linear(4, 6) for _ in range(3)]
    for layer in layers:
        layer.load_state_dict(common.projection.state_dict())
    users = UserModels(Federation(users=3, synchronise_every=2), common)
    users.begin(PHASE)
    optimisers = [torch.optim.AdamW(layer.parameters(), lr=1e-2) for layer in layers]
    seen = [0, 0, 0]
    for number, rows in enumerate(ROUNDS):
        tokens = torch.randn(3, 2, 4)
        symbols, marks = users.transmit(StreamRequest("audio", "train", rows, True), AUDIO, tokens)
        assert marks.all()
        parts = [
            torch.view_as_complex(layers[row % 3](t).reshape(-1, 2))
            for row, t in zip(rows, tokens, strict=True)
        ]
        torch.testing.assert_close(symbols, torch.stack(parts))
        symbols.retain_grad()
        _loss(symbols, number).backward()
        assert symbols.grad is not None
        users.count_trained("audio", symbols.grad)
        users.step()
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


def test_users_whose_samples_are_missing_or_lost_do_not_count() -> None:
    """Nothing of one of two users arrives: the average is the other one's weights."""
    torch.manual_seed(0)
    common = _Linear()
    users = UserModels(Federation(users=2, synchronise_every=1), common)
    users.begin(PHASE)
    symbols, _ = users.transmit(
        StreamRequest("audio", "train", (0, 1, 2, 3), True), AUDIO, torch.randn(4, 2, 4)
    )
    symbols.retain_grad()
    _loss(symbols[::2], 1.0).backward()
    assert symbols.grad is not None
    users.count_trained("audio", symbols.grad)
    before = common.projection.weight.detach().clone()
    users.step()
    moved = (common.projection.weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 1e-2), rtol=0.02, atol=0)


class _Texts(_Linear):
    """Texts of several lengths, cut to the longest of those that are sent at once."""

    def forward(self, stream: str, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens, valid = inputs
        used = valid.any(0)
        return pack(self.projection(tokens[:, used]), valid[:, used])


@pytest.mark.parametrize("padding", ["left", "right"])
def test_users_who_train_together_send_the_frame_of_one_device(
    padding: Literal["left", "right"],
) -> None:
    """None of them knows the longest text of the others."""
    torch.manual_seed(0)
    common = _Texts()
    users = UserModels(Federation(users=3), common)
    users.begin(PHASE)
    lengths = torch.tensor([[1], [2], [4], [1], [3]])
    places = torch.arange(6)
    valid = places < lengths if padding == "right" else places >= 6 - lengths
    tokens = torch.randn(5, 6, 4)
    request = StreamRequest("text", "train", (0, 1, 5, 3, 4), True)
    text = replace(AUDIO, padding=padding)
    symbols, marks = users.transmit(request, text, tokens, valid)
    expected, expected_marks = common("text", tokens, valid)
    assert torch.equal(marks, expected_marks)
    torch.testing.assert_close(symbols * marks, expected * expected_marks)


def _train(
    parts: NetworkParts, federation: Federation | None, folder: Path, engine: InlineEngine
) -> dict[str, torch.Tensor]:
    """Fine-tuning alone."""
    devices = tuple(replace(device, federation=federation) for device in parts.devices)
    with replace(parts, devices=devices).network(engine) as network:
        network.set_channel(named_air("rayleigh"), 6.0)
        network.train(parts.phases(steps=6)[-1], Checkpoints(folder, every=2))
        return network.state()


def test_a_federation_goes_on_where_it_was(parts_of: PartsOf, tmp_path: Path) -> None:
    federation = Federation(users=7, synchronise_every=3)
    whole = _train(parts_of(), federation, tmp_path / "whole", InlineEngine())
    with pytest.raises(KeyboardInterrupt):
        _train(parts_of(), federation, tmp_path / "parts", Interrupted(9))
    assert Checkpoints(tmp_path / "parts").latest() is not None
    resumed = _train(parts_of(), federation, tmp_path / "parts", InlineEngine())
    for name, tensor in whole.items():
        assert torch.equal(resumed[name], tensor), name
    shared = _train(parts_of(), None, tmp_path / "shared", InlineEngine())
    assert not torch.equal(shared["vision.projection.weight"], whole["vision.projection.weight"])


def test_exchanged_weights_are_counted_both_ways() -> None:
    federation = Federation(users=5, synchronise_every=4)
    assert federation.exchanged_bits(weights=100, rounds=10) == 2 * 32 * 100 * 5 * 3
