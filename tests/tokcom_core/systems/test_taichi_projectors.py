"""KAN against SciPy's B-splines and eqs. (8) to (10), its matched MLP, MobileVLM's LDP."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.interpolate import BSpline

from tokcom_core.systems.taichi.projectors import (
    KanLayer,
    ProjectorConfig,
    b_splines,
    build_projector,
)

SPAN = (-3.0, 3.0)


def _scipy_bases(x: np.ndarray, grid: int, order: int) -> np.ndarray:
    step = (SPAN[1] - SPAN[0]) / grid
    knots = SPAN[0] + step * (np.arange(grid + 2 * order + 1) - order)
    bases = [
        BSpline.basis_element(knots[i : i + order + 2], extrapolate=False)(x)
        for i in range(grid + order)
    ]
    return np.nan_to_num(np.stack(bases, axis=-1))


@pytest.mark.parametrize(("grid", "order"), [(5, 3), (8, 2), (1, 1)])
def test_bases_are_scipys(grid: int, order: int) -> None:
    """In float32, inside the range and beyond it; inside they sum to one."""
    x = torch.linspace(-9.3, 9.1, 2001)
    bases = b_splines(x, grid, order, SPAN)
    expected = _scipy_bases(x.double().numpy(), grid, order)
    np.testing.assert_allclose(bases.numpy(), expected, atol=1e-6)
    inside = bases[(x >= SPAN[0]) & (x < SPAN[1])]
    torch.testing.assert_close(inside.sum(-1), torch.ones(len(inside)))
    assert b_splines(x.bfloat16(), grid, order, SPAN).dtype == torch.float32


def test_gradients_of_the_bases_are_their_slopes() -> None:
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    weights = torch.randn(8, dtype=torch.float64)
    leaf = x.float().requires_grad_()
    (b_splines(leaf, 5, 3, SPAN) @ weights.float()).sum().backward()
    step = 1e-5
    rise = _scipy_bases((x + step).numpy(), 5, 3) - _scipy_bases((x - step).numpy(), 5, 3)
    expected = torch.from_numpy(rise / (2 * step)) @ weights
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad.double(), expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_kan_is_its_equations() -> None:
    kan = KanLayer(4, 3, 5, 3, SPAN)
    x = 2 * torch.randn(6, 4)
    bases = torch.from_numpy(_scipy_bases(x.numpy(), 5, 3)).float()
    expected = torch.zeros(6, 3)
    for j in range(3):
        for i in range(4):
            silu = x[:, i] / (1 + torch.exp(-x[:, i]))
            spline = bases[:, i] @ kan.coefficients[j, i]
            expected[:, j] += kan.base.weight[j, i] * silu + kan.spline_scale[j, i] * spline
    torch.testing.assert_close(kan(x), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_far_outside_the_range_only_silu_is_left() -> None:
    kan = KanLayer(4, 3, 5, 3, SPAN)
    far = torch.full((1, 4), 7.0)  # three intervals of 1.2 beyond the range end at 6.6
    torch.testing.assert_close(kan(far), kan.base(torch.nn.functional.silu(far)))


@pytest.mark.parametrize(("wide", "out", "grid"), [(96, 128, 5), (64, 48, 8), (1024, 64, 3)])
def test_the_mlp_has_as_many_parameters_as_the_kan(wide: int, out: int, grid: int) -> None:
    sizes = [
        sum(p.numel() for p in build_projector(config, wide, out).parameters())
        for config in (ProjectorConfig(grid=grid), ProjectorConfig(kind="mlp", grid=grid))
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.01)
    given = build_projector(ProjectorConfig(kind="mlp", hidden=7), wide, out)
    assert sum(p.numel() for p in given.parameters()) == 2 * wide + 7 * (wide + 1 + out) + out


@pytest.mark.parametrize("kind", ["kan", "mlp", "ldp"])
def test_every_weight_is_trained(kind: str) -> None:
    config = ProjectorConfig.model_validate({"kind": kind})
    projector = build_projector(config, 12, 16)
    projected = projector(torch.randn(2, 36, 12))
    assert projected.shape == (2, 36 // config.stride**2, 16)
    projected.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in projector.parameters())


def test_ldp_has_mobilevlms_structure() -> None:
    """576 tokens become 144; the sizes are those of its layers, counted by hand."""
    projector = build_projector(ProjectorConfig(kind="ldp"), 10, 32)
    assert projector(torch.randn(1, 576, 10)).shape == (1, 144, 32)
    mlp = 11 * 32 + 33 * 32
    block = 9 * 32 + 2 * 32 + (33 * 8 + 9 * 32) + 32 * 32 + 2 * 32
    assert sum(p.numel() for p in projector.parameters()) == mlp + 2 * block
    with pytest.raises(ValueError, match="not 20; take a square number"):
        projector(torch.randn(1, 20, 10))


def test_an_empty_range_is_refused() -> None:
    with pytest.raises(ValidationError, match="is empty; take one such as"):
        ProjectorConfig(range=(1.0, 1.0))
