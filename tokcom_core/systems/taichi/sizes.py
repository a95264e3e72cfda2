"""Sizes of TaiChi: grids of visual tokens, and operations of its terminal."""

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
def device_macs(system: Taichi, visual_tokens: int) -> tuple[int, int]:
    """Multiplications by a weight for an image, and for a token of the prompt.

    Those of an image are of BAN and projector; those of a token of lower layers, with their
    adapter, and channel encoder.
    """
    import torch
    from peft import inject_adapter_in_model
    from transformers import AutoModelForCausalLM

    from ...checkpoints.configs import read_config
    from ...weights import matrix_weights
    from .codec import ChannelEncoder
    from .fusion import build_fusion
    from .projectors import projector_macs

    fused = visual_tokens * system.projector.stride**2
    width = system.token_width
    with torch.device("meta"):
        fusion = build_fusion(system.fusion, *system.models.grids())
        encoder = ChannelEncoder(system.codec, width)
        config = read_config(system.models.language, "language")
        every = AutoModelForCausalLM.from_config(config).base_model.layers
        layers = torch.nn.ModuleList(list(every)[: system.layers_below])
        if system.adapter is not None and len(layers):
            inject_adapter_in_model(system.adapter.peft_config(), layers)
    visual = fusion.macs(fused) + projector_macs(system.projector, fusion.width, width, fused)
    return visual, matrix_weights([*layers.parameters(), *encoder.parameters()])
