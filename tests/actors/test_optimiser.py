"""The optimiser of each part: its schedules, its clipping, and where it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from actors.training.optimiser import Optimiser
from actors.training.schedules import make_schedule
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


@pytest.mark.parametrize("schedule", ["linear", "cosine_with_min_lr", "constant_with_warmup"])
@pytest.mark.parametrize(("steps", "warmup"), [(20, 0), (20, 7), (1, 0)])
def test_schedules_are_those_of_transformers(schedule: Any, steps: int, warmup: int) -> None:
    minimum = {"min_lr": 1e-6} if schedule == "cosine_with_min_lr" else None
    theirs, ours = (torch.optim.AdamW([torch.nn.Parameter(GOAL)], lr=3e-3) for _ in range(2))
    expected = get_scheduler(schedule, theirs, warmup, steps, minimum)
    found = make_schedule(ours, Training(steps, 3e-3, schedule, warmup_steps=warmup))
    for _ in range(steps):
        assert found.get_last_lr() == expected.get_last_lr()
        for optimizer, scheduler in ((ours, found), (theirs, expected)):
            optimizer.step()
            scheduler.step()


def test_a_constant_rate_without_clipping_is_plain_adamw() -> None:
    """As the code of paper 1's authors fine-tunes."""
    ours, plain = torch.nn.Parameter(torch.ones(4)), torch.nn.Parameter(torch.ones(4))
    training = Training(20, 1e-2, "constant_with_warmup", gradient_clip=None)
    expected = _descend(plain, torch.optim.AdamW([plain], lr=1e-2), 20)
    assert torch.equal(_descend(ours, Optimiser([ours], training), 20), expected)


def test_clipping_bounds_the_norm_of_the_gradient() -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    optimiser = Optimiser([weight], Training(5, 1e-2, "linear", gradient_clip=0.5))
    (100 * weight).sum().backward()
    optimiser._adamw.step = lambda: norms.append(float(weight.grad.norm()))  # type: ignore
    norms: list[float] = []
    optimiser.step()
    assert norms == [pytest.approx(0.5, rel=1e-4)]
