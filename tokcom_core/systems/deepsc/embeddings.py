"""Embeddings of frozen features as inputs of a semantic encoder: a norm and a linear map.

Shapes: ``B`` batch, ``S`` patches or words, ``H x W`` places of an image, ``D`` features.
"""

from __future__ import annotations

from torch import Tensor, nn

from ...encoders import EncoderConfig, Grid
from ..grids import StageProjection, pool
from .config import ImageConfig


class FeatureEmbedding(nn.Module):
    """Maps frozen features ``[B, S, D]`` of patches or words to inputs ``[B, S, width]``.

    Args:
        features: Number of features, D.
        width: Features of an input.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.map = nn.Linear(features, width)

    def forward(self, features: Tensor) -> Tensor:
        """Inputs ``[B, S, width]``."""
        mapped: Tensor = self.map(self.norm(features))
        return mapped


class PatchEmbedding(nn.Module):
    """Maps frozen features of an image to inputs for the places of its first encoder.

    If there is a second encoder, its features are mapped, averaged over those of its places
    ``H x W`` that a place of the first covers, and added.

    Args:
        config: Encoders, and the width of the inputs.
    """

    def __init__(self, config: ImageConfig) -> None:
        super().__init__()
        width, shape = config.size.width, config.encoder.shape()
        self.patches = FeatureEmbedding(shape.width, width)
        self.detail: StageProjection | None = None
        if config.detail is not None:
            coarse = grid_of(config.encoder)
            self._size = (coarse.rows, coarse.columns)
            self.detail = StageProjection(grid_of(config.detail), width)

    @staticmethod
    def macs(config: ImageConfig) -> int:
        """Multiplications by a weight for an image."""
        width = config.size.width
        own: int = config.length * config.encoder.shape().width * width
        if config.detail is None:
            return own
        return own + StageProjection.macs(grid_of(config.detail), width)

    def forward(self, patches: Tensor, detail: Tensor | None = None) -> Tensor:
        """Inputs ``[B, S, width]`` of features ``[B, S, D]`` of each encoder."""
        inputs: Tensor = self.patches(patches)
        if self.detail is not None:
            assert detail is not None
            inputs = inputs + pool(self.detail(detail), self._size).flatten(1, 2)
        return inputs


def grid_of(encoder: EncoderConfig) -> Grid:
    """The grid of places that the tokens of an image encoder stand for.

    Raises:
        ValueError: if they stand for none.
    """
    grid = encoder.shape().grid
    if grid is None:
        raise ValueError(f"encoder {encoder.name} is not of images; take clip and convnext")
    return grid
