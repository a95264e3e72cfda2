"""Sizes of TaiChi: grids of visual tokens, and operations of both sides."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
        stride: Rows before the projector for each row behind it; likewise for columns.
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
def visual_macs(system: Taichi, visual_tokens: int) -> int:
    """Multiplications by a weight for an image, in BAN and projector."""
    import torch

    from .fusion import build_fusion
    from .projectors import projector_macs

    fused = visual_tokens * system.projector.stride**2
    with torch.device("meta"):
        fusion = build_fusion(system.fusion, *system.models.grids())
    projected = projector_macs(system.projector, fusion.width, system.token_width, fused)
    return fusion.macs(fused) + projected


@dataclass(frozen=True)
class TokenMacs:
    """Multiplications by a weight for a token of the prompt, and for a word of the answer.

    Attributes:
        terminal: Of lower layers, with their adapter, and channel encoder.
        station: Of channel decoder and upper layers, with their adapter.
        head: Of the language model's head, where a word is predicted.
    """

    terminal: int
    station: int
    head: int


@cache
def token_macs(system: Taichi) -> TokenMacs:
    """Counts for both sides, from the language model's configuration: no weights are loaded.

    Raises:
        ValueError: for a language model that cannot be cut between its layers.
    """
    import torch
    from peft import inject_adapter_in_model

    from ...checkpoints.loading import model_without_weights
    from ...weights import matrix_weights
    from .codec import ChannelDecoder, ChannelEncoder
    from .language import parts_of

    model = model_without_weights(system.models.language)
    layers = parts_of(system.models.language, model).layers
    with torch.device("meta"):
        encoder = ChannelEncoder(system.codec, system.token_width)
        decoder = ChannelDecoder(system.codec, system.token_width)
        if system.adapter is not None:
            inject_adapter_in_model(system.adapter.peft_config(), layers)
    below, above = layers[: system.layers_below], layers[system.layers_below :]
    return TokenMacs(
        terminal=matrix_weights([*below.parameters(), *encoder.parameters()]),
        station=matrix_weights([*above.parameters(), *decoder.parameters()]),
        head=matrix_weights(model.get_output_embeddings().parameters()),
    )
