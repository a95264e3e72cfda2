"""Features on grids of places in an image: stages mapped to one width, places pooled to cells."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders import Grid
from ..encoders.stages import unfold_stages


class StageProjection(nn.Module):
    """A linear map of all stages of an encoder, as if resized to the finest and concatenated.

    Each stage is normalised and mapped at its own resolution, then resized and added. This equals
    mapping all channels at the finest resolution, at a fraction of the work and memory.
    """

    def __init__(self, grid: Grid, width: int) -> None:
        super().__init__()
        self._grid = grid
        self.norms = nn.ModuleList(nn.LayerNorm(stage.channels) for stage in grid.stages)
        fan_in = sum(stage.channels for stage in grid.stages)
        self.maps = nn.ModuleList(
            nn.Linear(stage.channels, width, bias=i == 0) for i, stage in enumerate(grid.stages)
        )
        for linear in self.maps:  # as one linear map of all channels would be
            assert isinstance(linear, nn.Linear)
            nn.init.uniform_(linear.weight, -(fan_in**-0.5), fan_in**-0.5)

    @staticmethod
    def macs(grid: Grid, width: int) -> int:
        """Multiplications by a weight, as every stage is mapped at its own resolution."""
        cells = grid.rows * grid.columns
        return cells * width * sum(stage.channels * stage.ratio**2 for stage in grid.stages)

    def forward(self, tokens: Tensor) -> Tensor:
        """Features ``[B, H, W, width]`` at the finest stage's places, of tokens ``[B, S, D]``."""
        finest = max(stage.ratio for stage in self._grid.stages)
        size = (self._grid.rows * finest, self._grid.columns * finest)
        total: Tensor | None = None
        for features, norm, linear in zip(
            unfold_stages(tokens, self._grid), self.norms, self.maps, strict=True
        ):
            mapped = linear(norm(features.movedim(1, -1)))
            if mapped.shape[1:3] != size:
                resized = F.interpolate(mapped.movedim(-1, 1), size, mode="bilinear")
                mapped = resized.movedim(1, -1)
            total = mapped if total is None else total + mapped
        assert total is not None
        return total


def pool(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Features ``[B, rows, columns, D]`` as means over the places ``[B, H, W, D]`` of each cell."""
    if features.shape[1:3] == size:
        return features
    pooled: Tensor = F.adaptive_avg_pool2d(features.movedim(-1, 1), size)
    return pooled.movedim(1, -1)
