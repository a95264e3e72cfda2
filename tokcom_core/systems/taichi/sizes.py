"""Sizes of TaiChi: grids of visual tokens, and weights that a device's tokens meet."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from ...encoders import Grid
from .names import TERMINAL

if TYPE_CHECKING:
    from .system import Taichi

_SHOWN = 6


def query_grid(low: Grid, stride: int, count: int) -> tuple[int, int]:
    """Rows and columns of the fused tokens that become ``count`` visual tokens.

    Args:
        low: Grid of the low-resolution tokens, whose shape is kept.
        stride: Rows before the projector for each behind it, and likewise columns.
        count: Token budget.

    Raises:
        ValueError: unless the visual tokens are a grid of this shape.
    """
    rows = math.isqrt(count * low.rows // low.columns)
    columns = rows * low.columns // low.rows
    if rows * columns == count and rows * low.columns == columns * low.rows:
        return rows * stride, columns * stride
    step = math.gcd(low.rows, low.columns)
    sides = [(low.rows // step * i, low.columns // step * i) for i in range(step, 0, -1)]
    fitting = [str(r * c) for r, c in sides if r * stride <= low.rows]
    raise ValueError(
        f"tokens.{TERMINAL} {count} is no grid of the shape {low.rows} x {low.columns} of the "
        f"low-resolution tokens; take one such as {', '.join(fitting[:_SHOWN])}"
    )


@cache
def device_weights(system: Taichi) -> tuple[int, int]:
    """Weights of BAN and projector, and of lower layers and channel encoder."""
    import torch
    from transformers import AutoModelForCausalLM

    from ...checkpoints.configs import read_config
    from .codec import ChannelEncoder
    from .fusion import build_fusion
    from .projectors import build_projector

    with torch.device("meta"):
        fusion = build_fusion(system.fusion, *system.models.grids())
        projector = build_projector(system.projector, fusion.width, system.token_width)
        encoder = ChannelEncoder(system.codec, system.token_width)
        config = read_config(system.models.language, "language")
        layers = list(AutoModelForCausalLM.from_config(config).base_model.layers)
    visual = [*fusion.parameters(), *projector.parameters()]
    below = [p for own in (*layers[: system.layers_below], encoder) for p in own.parameters()]
    return sum(p.numel() for p in visual), sum(p.numel() for p in below)
