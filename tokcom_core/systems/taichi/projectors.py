"""Projectors of visual tokens into the language model's embedding space: KAN, MLP, LDP."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from ...config import Config


class ProjectorConfig(Config):
    """How visual tokens are mapped to the width of the language model.

    Attributes:
        kind: ``kan``: the paper's, eqs. (8) to (10). ``mlp``: two linear layers. ``ldp``:
            MobileVLM's, which halves rows and columns.
        grid, order: Intervals and order of the KAN's B-splines.
        range: Inputs between which the splines live, in standard deviations.
        hidden: Hidden width of the MLP; by default, the one at which it has as many parameters as
            the KAN of this grid and order.
    """

    kind: Literal["kan", "mlp", "ldp"] = "kan"
    grid: int = Field(default=5, ge=1)
    order: int = Field(default=3, ge=1)
    range: tuple[float, float] = (-3.0, 3.0)
    hidden: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _range_ascends(self) -> ProjectorConfig:
        if not self.range[0] < self.range[1]:
            raise ValueError(f"range {list(self.range)} is empty; take one such as [-3, 3]")
        return self

    @property
    def stride(self) -> int:
        """Rows of tokens before the projector for each row behind it; likewise for columns."""
        return 2 if self.kind == "ldp" else 1


def build_projector(config: ProjectorConfig, in_width: int, out_width: int) -> nn.Module:
    """A map of tokens ``[B, S, in_width]`` to ``[B, S / stride**2, out_width]``."""
    if config.kind == "ldp":
        return LightweightDownsampleProjector(in_width, out_width)
    norm = nn.LayerNorm(in_width)
    if config.kind == "kan":
        layer = KanLayer(in_width, out_width, config.grid, config.order, config.range)
        return nn.Sequential(norm, layer)
    hidden = config.hidden or matched_width(config, in_width, out_width)
    return nn.Sequential(norm, nn.Linear(in_width, hidden), nn.GELU(), nn.Linear(hidden, out_width))


def projector_macs(config: ProjectorConfig, in_width: int, out_width: int, tokens: int) -> int:
    """Multiplications by a weight for this number of tokens before the projector.

    A KAN's w_s do not count: they scale the coefficients, once for all tokens.
    """
    if config.kind == "ldp":
        return LightweightDownsampleProjector.macs(in_width, out_width, tokens)
    if config.kind == "kan":
        return tokens * in_width * out_width * (1 + config.grid + config.order)
    hidden = config.hidden or matched_width(config, in_width, out_width)
    return tokens * hidden * (in_width + out_width)


def matched_width(config: ProjectorConfig, in_width: int, out_width: int) -> int:
    """Hidden width at which an MLP has as many parameters as the KAN layer."""
    kan = in_width * out_width * (2 + config.grid + config.order)
    return max(1, round((kan - out_width) / (in_width + out_width + 1)))


class KanLayer(nn.Module):
    """A Kolmogorov-Arnold layer: y_j = sum_i w_b SiLU(x_i) + w_s sum_g c_g B_g(x_i), eqs. (8)-(10).

    Each edge (i, j) has a w_b, a w_s and ``grid + order`` coefficients c. Outside the range the
    splines fade to zero within ``order`` intervals, and only SiLU is left.

    Args:
        in_width, out_width: d_in and d_out.
        grid: Intervals of the range.
        order: Order of the B-splines, 3 for cubic ones.
        span: The range.
    """

    def __init__(
        self, in_width: int, out_width: int, grid: int, order: int, span: tuple[float, float]
    ) -> None:
        super().__init__()
        self._grid, self._order, self._span = grid, order, span
        self.base = nn.Linear(in_width, out_width, bias=False)  # w_b, Kaiming
        self.spline_scale = nn.Parameter(torch.empty(out_width, in_width))  # w_s
        self.coefficients = nn.Parameter(torch.empty(out_width, in_width, grid + order))  # c
        nn.init.kaiming_uniform_(self.spline_scale, a=math.sqrt(5))
        nn.init.normal_(self.coefficients, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        """``[..., d_out]`` of ``[..., d_in]``: two matrix products."""
        bases = b_splines(x, self._grid, self._order, self._span).to(x.dtype)
        weights = (self.spline_scale.unsqueeze(-1) * self.coefficients).flatten(1)
        mapped: Tensor = self.base(F.silu(x)) + F.linear(bases.flatten(-2), weights)
        return mapped


def b_splines(x: Tensor, grid: int, order: int, span: tuple[float, float]) -> Tensor:
    """B-spline bases ``[..., grid + order]`` of x ``[...]`` on uniform knots, float32.

    The knots are those of ``grid`` intervals of the range, and ``order`` more at either side.
    """
    bases: Tensor = _BSplines.apply(x, grid, order, span)  # type: ignore[no-untyped-call]
    return bases


class _BSplines(torch.autograd.Function):
    """Keeps only the inputs for the gradient, not the bases of every order."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: int, order: int, span: tuple[float, float]) -> Tensor:
        ctx.save_for_backward(x)
        ctx.knots = (grid, order, span)
        return _cox_de_boor(_in_intervals(x, *ctx.knots), grid, order, order)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """dB_g,k/dt = B_g,k-1 - B_g+1,k-1, with t counted in intervals."""
        (x,) = ctx.saved_tensors
        grid, order, span = ctx.knots
        lower = _cox_de_boor(_in_intervals(x, *ctx.knots), grid, order, order - 1)
        slopes = (lower[..., :-1] - lower[..., 1:]) * (grid / (span[1] - span[0]))
        return (gradients[0] * slopes).sum(-1).to(x.dtype), None, None, None


def _in_intervals(x: Tensor, grid: int, order: int, span: tuple[float, float]) -> Tensor:
    """x in intervals from the first knot, float32."""
    return (x.float() - span[0]) * (grid / (span[1] - span[0])) + order


def _cox_de_boor(t: Tensor, grid: int, order: int, degree: int) -> Tensor:
    """Bases ``[..., grid + 2 order - degree]`` of a degree, on knots 0, 1, ..., grid + 2 order."""
    knots = torch.arange(grid + 2 * order, device=t.device, dtype=t.dtype)
    distance = t.unsqueeze(-1) - knots
    bases = ((distance >= 0) & (distance < 1)).to(t.dtype)
    for p in range(1, degree + 1):
        rising, falling = distance[..., :-p] / p, (p + 1 - distance[..., :-p]) / p
        bases = rising * bases[..., :-1] + falling * bases[..., 1:]
    return bases


class LightweightDownsampleProjector(nn.Module):
    """MobileVLM's LDP, version 1: Linear-GELU-Linear and two inverted residual blocks.

    The second block has stride 2, so that 576 tokens become 144. As in MobileVLM, the tokens are
    those of a square grid, row by row.
    """

    def __init__(self, in_width: int, out_width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(in_width, out_width), nn.GELU(), nn.Linear(out_width, out_width)
        )
        self.blocks = nn.Sequential(
            InvertedResidual(out_width, stride=1), InvertedResidual(out_width, stride=2)
        )

    @staticmethod
    def macs(in_width: int, out_width: int, tokens: int) -> int:
        """Multiplications by a weight for this number of tokens, of a grid with even sides."""
        linear = tokens * out_width * (in_width + out_width)
        return linear + sum(InvertedResidual.macs(out_width, n) for n in (tokens, tokens // 4))

    def forward(self, tokens: Tensor) -> Tensor:
        """``[B, S / 4, out_width]`` of ``[B, S, in_width]`` (rounded up for odd sides)."""
        side = math.isqrt(tokens.shape[1])
        if side**2 != tokens.shape[1]:
            raise ValueError(
                f"LDP takes tokens of a square grid, not {tokens.shape[1]}; take a square number"
            )
        image = self.mlp(tokens).unflatten(1, (side, side)).movedim(-1, 1)
        projected: Tensor = self.blocks(image).flatten(2).transpose(1, 2)
        return projected


class InvertedResidual(nn.Module):
    """MobileNetV3's block without expansion, with layer norms over channels.

    It has a depthwise 3 x 3 convolution with hard-swish, squeeze-and-excitation, a pointwise
    convolution, and a residual path if the stride is 1.
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        squeezed = self._squeezed(width)
        self.depthwise = nn.Conv2d(
            width, width, 3, stride=stride, padding=1, groups=width, bias=False
        )
        self.norm = nn.LayerNorm(width)
        self.excitation = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(width, squeezed, 1),
            nn.ReLU(),
            nn.Conv2d(squeezed, width, 1),
            nn.Hardsigmoid(),
        )
        self.pointwise = nn.Conv2d(width, width, 1, bias=False)
        self.norm_out = nn.LayerNorm(width)
        self._residual = stride == 1

    @staticmethod
    def _squeezed(width: int) -> int:
        return max(8, 8 * ((width // 4 + 4) // 8))

    @classmethod
    def macs(cls, width: int, places: int) -> int:
        """Multiplications by a weight for this number of places of the output."""
        return places * width * (9 + width) + 2 * width * cls._squeezed(width)

    def forward(self, image: Tensor) -> Tensor:
        """``[B, D, H / stride, W / stride]`` of ``[B, D, H, W]``."""
        hidden = F.hardswish(_over_channels(self.norm, self.depthwise(image)))
        hidden = self.pointwise(hidden * self.excitation(hidden))
        hidden = _over_channels(self.norm_out, hidden)
        return image + hidden if self._residual else hidden


def _over_channels(norm: nn.Module, image: Tensor) -> Tensor:
    normalised: Tensor = norm(image.movedim(1, -1))
    return normalised.movedim(-1, 1)
