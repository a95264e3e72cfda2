"""BAN against loops written from eqs. (5) to (7), on grids of any ratio."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from tokcom_core.encoders import Grid, Stage
from tokcom_core.systems.grids import StageProjection
from tokcom_core.systems.taichi.fusion import BilateralAttention, FusionConfig, build_fusion

WIDTH = 8
HIGH = (Stage(6, 2), Stage(10, 1))
RATIOS = [
    ((4, 4), (4, 4), (4, 4)),  # integer: 2 x 2 places a token
    ((4, 4), (4, 4), (2, 2)),  # fewer queries than tokens of V_l
    ((5, 3), (2, 4), (3, 2)),  # nothing divides anything
    ((6, 6), (2, 2), (6, 6)),  # V_l is the finer grid
]


def _grids(low: tuple[int, int], high: tuple[int, int]) -> tuple[Grid, Grid]:
    return Grid(*low, (Stage(WIDTH, 1),)), Grid(*high, HIGH)


def _tokens(grid: Grid) -> Tensor:
    return torch.randn(2, grid.rows * grid.columns, grid.width)


def _attend(query: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
    scores = torch.stack([query @ key for key in keys]) / math.sqrt(WIDTH)
    return torch.stack(values).T @ scores.softmax(0)


def _covered(part: int, parts: int, places: int) -> range:
    return range(math.floor(part * places / parts), math.ceil((part + 1) * places / parts))


def _around(place: int, places: int, cells: int) -> list[int]:
    middle = math.floor((place + 0.5) * cells / places)
    return [cell for cell in (middle - 1, middle, middle + 1) if 0 <= cell < cells]


def _by_loops(
    ban: BilateralAttention, low: Tensor, high: Tensor, queries: tuple[int, int]
) -> Tensor:
    """Eqs. (5) to (7) for one image, place by place."""
    key_l, value_l, query_h = ban.project_high(high[None])[0].split(WIDTH, dim=-1)
    grid = ban.norm(low).reshape(ban.low.rows, ban.low.columns, WIDTH)
    key_h, value_h = ban.key_value_low(grid).split(WIDTH, dim=-1)
    height, width = key_l.shape[:2]
    detail = torch.zeros(height, width, WIDTH)
    for i in range(height):
        for j in range(width):
            near = [
                (a, b)
                for a in _around(i, height, ban.low.rows)
                for b in _around(j, width, ban.low.columns)
            ]
            detail[i, j] = _attend(
                query_h[i, j], [key_h[n] for n in near], [value_h[n] for n in near]
            )
    rows = []
    for r in range(queries[0]):
        for c in range(queries[1]):
            cells = [
                grid[a, b]
                for a in _covered(r, queries[0], ban.low.rows)
                for b in _covered(c, queries[1], ban.low.columns)
            ]
            v_l = torch.stack(cells).mean(0)
            window = [
                (i, j)
                for i in _covered(r, queries[0], height)
                for j in _covered(c, queries[1], width)
            ]
            query = ban.query_low(v_l)
            v_l_enhanced = _attend(query, [key_l[w] for w in window], [value_l[w] for w in window])
            rows.append(v_l + v_l_enhanced + torch.stack([detail[w] for w in window]).mean(0))
    return torch.stack(rows)


@pytest.mark.parametrize(("low_size", "high_size", "queries"), RATIOS)
@torch.no_grad()
def test_ban_is_its_equations(
    low_size: tuple[int, int], high_size: tuple[int, int], queries: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    low_grid, high_grid = _grids(low_size, high_size)
    ban = build_fusion(FusionConfig(), low_grid, high_grid)
    assert isinstance(ban, BilateralAttention)
    low, high = _tokens(low_grid), _tokens(high_grid)
    fused = ban(low, high, queries)
    assert fused.shape == (2, queries[0] * queries[1], ban.width)
    for image in range(2):
        expected = _by_loops(ban, low[image], high[image], queries)
        torch.testing.assert_close(fused[image], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["ban", "mining", "addition", "low", "high"])
def test_every_kind_is_differentiable_in_all_it_trains(kind: str) -> None:
    low_grid, high_grid = _grids((4, 4), (3, 3))
    fusion = build_fusion(FusionConfig.model_validate({"kind": kind}), low_grid, high_grid)
    fused = fusion(_tokens(low_grid), _tokens(high_grid), (3, 3))
    assert fused.shape == (2, 9, WIDTH)
    (fused * torch.randn_like(fused)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in fusion.parameters())


def test_a_token_depends_on_its_own_places_alone() -> None:
    low_grid, high_grid = _grids((4, 4), (4, 4))
    mining = build_fusion(FusionConfig(kind="mining"), low_grid, high_grid)
    high = _tokens(high_grid)
    changed = high.clone()
    changed[:, 15, : 6 * 4] += 1  # the fine stage of the last cell; the coarse one is smoothed
    low = _tokens(low_grid)
    moved = (mining(low, high, (4, 4)) - mining(low, changed, (4, 4))).abs().sum(dim=(0, 2))
    assert moved.nonzero().flatten().tolist() == [15]


def test_stages_are_projected_as_if_resized_and_side_by_side() -> None:
    grid = Grid(2, 3, HIGH)
    project = StageProjection(grid, WIDTH)
    tokens = torch.randn(1, 6, grid.width)
    fine = tokens[..., : 6 * 4].reshape(1, 2, 3, 2, 2, 6).transpose(2, 3).reshape(1, 4, 6, 6)
    coarse = tokens[..., 6 * 4 :].reshape(1, 2, 3, 10)
    normed = [norm(m) for norm, m in zip(project.norms, (fine, coarse), strict=True)]
    resized = torch.nn.functional.interpolate(normed[1].movedim(-1, 1), (4, 6), mode="bilinear")
    channels = torch.cat([normed[0], resized.movedim(1, -1)], dim=-1)
    weight = torch.cat([linear.weight for linear in project.maps], dim=1)
    expected = torch.nn.functional.linear(channels, weight, project.maps[0].bias)
    torch.testing.assert_close(project(tokens), expected, rtol=1e-4, atol=1e-5)


def test_an_even_neighbourhood_is_refused() -> None:
    with pytest.raises(ValidationError, match="neighbourhood 2 has no middle"):
        FusionConfig(neighbourhood=2)
