"""The optimiser of each part: its schedules, its clipping, and where it goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save
from transformers import get_scheduler

from actors.training.optimiser import Optimiser, seeded
from actors.training.schedules import learning_rate_at
from tokcom_core.systems import Training

GOAL = torch.arange(4.0)


def _descend(weight: torch.nn.Parameter, optimiser: Any, steps: int) -> torch.Tensor:
    for _ in range(steps):
        (weight - GOAL).square().sum().backward()
        optimiser.step()
        weight.grad = None
    return weight.detach()


@pytest.mark.parametrize("schedule", ["linear", "cosine_with_min_lr", "constant_with_warmup"])
def test_an_optimiser_goes_on_where_it_was(schedule: Any, tmp_path: Path) -> None:
    training = Training(10, 1e-2, schedule, warmup_steps=2)
    whole = torch.nn.Parameter(torch.ones(4))
    _descend(whole, Optimiser([whole], training), 10)
    half = torch.nn.Parameter(torch.ones(4))
    before = Optimiser([half], training)
    _descend(half, before, 5)
    before.save(tmp_path / "o.safetensors")
    rest = torch.nn.Parameter(half.detach().clone())
    after = Optimiser([rest], training)
    after.load(tmp_path / "o.safetensors")
    assert torch.equal(_descend(rest, after, 5), whole)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 40,
        *(save({"0.exp_avg": GOAL[:1]}, own) for own in (None, {"v": "0"}, {"steps": "1"})),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(content: bytes, tmp_path: Path) -> None:
    """Empty, damaged, or of another version."""
    file = tmp_path / "optimiser.safetensors"
    file.write_bytes(content)
    optimiser = Optimiser([torch.nn.Parameter(torch.ones(4))], Training(10, 1e-2, "linear"))
    with pytest.raises(ValueError, match=f"{file} is damaged, .*; remove this checkpoint"):
        optimiser.load(file)


@pytest.mark.parametrize("schedule", ["linear", "cosine_with_min_lr", "constant_with_warmup"])
@pytest.mark.parametrize(("steps", "warmup"), [(20, 0), (20, 7), (1, 0)])
def test_schedules_are_those_of_transformers(schedule: Any, steps: int, warmup: int) -> None:
    minimum = {"min_lr": 1e-6} if schedule == "cosine_with_min_lr" else None
    theirs = torch.optim.AdamW([torch.nn.Parameter(GOAL)], lr=3e-3)
    expected = get_scheduler(schedule, theirs, warmup, steps, minimum)
    training = Training(steps, 3e-3, schedule, warmup_steps=warmup)
    for step in range(steps):
        assert expected.get_last_lr() == [learning_rate_at(step, training)]
        theirs.step()
        expected.step()


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_those_of_torch_and_transformers(weight_decay: float) -> None:
    """Also where a parameter has no gradient in some steps."""
    weights = [[torch.nn.Parameter(torch.ones(4)) for _ in range(2)] for _ in range(2)]
    training = Training(
        12, 1e-2, "linear", warmup_steps=3, weight_decay=weight_decay, gradient_clip=1.0
    )
    ours = Optimiser(weights[0], training)
    theirs = torch.optim.AdamW(weights[1], lr=1e-2, weight_decay=weight_decay)
    schedule = get_scheduler("linear", theirs, 3, 12)
    for step in range(12):
        for own in weights:
            torch.stack([(w - GOAL).square().sum() for w in own[: 1 + step % 2]]).sum().backward()
        torch.nn.utils.clip_grad_norm_(weights[1], 1.0)
        for part in (ours, theirs, schedule):
            part.step()
        theirs.zero_grad()
        assert all(map(torch.equal, *weights))


def test_a_constant_rate_without_clipping_is_plain_adamw() -> None:
    """As the code of paper 1's authors fine-tunes."""
    ours, plain = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    training = Training(20, 1e-2, "constant_with_warmup", gradient_clip=None)
    expected = _descend(plain, torch.optim.AdamW([plain], lr=1e-2), 20)
    assert torch.equal(_descend(ours, Optimiser([ours], training), 20), expected)


def test_clipping_bounds_the_norm_of_the_gradient(tmp_path: Path) -> None:
    """As the first moment shows: a tenth of the gradient."""
    weight = torch.nn.Parameter(torch.zeros(4))
    optimiser = Optimiser([weight], Training(5, 1e-2, "linear", gradient_clip=0.5))
    (100 * weight).sum().backward()
    optimiser.step()
    optimiser.save(tmp_path / "o.safetensors")
    moment = load_file(tmp_path / "o.safetensors")["0.exp_avg"]
    assert float(moment.norm()) == pytest.approx(0.05, rel=1e-4)


def test_training_a_device_does_not_import_torchs_compiler() -> None:
    """It would be a third of what starting its process takes."""
    code = """
import sys, torch
from actors.training.optimiser import Optimiser
from tokcom_core.systems import Training
weight = torch.nn.Parameter(torch.ones(4))
weight.sum().backward()
Optimiser([weight], Training(2, 1e-2, "linear")).step()
print(float(weight[0]) < 1, "torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


@pytest.mark.filterwarnings("error")
def test_a_seed_on_the_cpu_leaves_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would begin to use each of them, only to keep its generator."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    state = torch.get_rng_state()
    with seeded(7):
        drawn = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(7):
        assert torch.equal(torch.rand(3), drawn)
