"""Visual tokens of images, eq. (11): BAN and projector, whose tokens are kept while neither learns.

Shapes: ``B`` images, ``S`` visual tokens, ``D`` features of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .fusion import build_fusion
from .projectors import build_projector

if TYPE_CHECKING:
    from .system import Taichi

MAX_KEPT_BYTES = 2**30
"""Maximum size of all visual tokens that are kept. None are kept if a feature store has images for
more than that at one token length."""

_UNREAD = torch.empty(0)


class VisualTokens(nn.ModuleList):
    """BAN, or what takes its place, and the projector.

    Args:
        system: Settings of the system.
        queries: Rows and columns of the visual tokens before the projector. No weight depends on
            them, so they may be changed later.
    """

    def __init__(self, system: Taichi, queries: tuple[int, int]) -> None:
        fusion = build_fusion(system.fusion, *system.models.grids())
        super().__init__(
            [fusion, build_projector(system.projector, fusion.width, system.token_width)]
        )
        self.queries = queries
        self._reads = system.fusion.reads
        self._token_width = system.token_width

    @property
    def bytes_per_image(self) -> int:
        """Size of an image's visual tokens, as many as before the projector.

        Behind a projector of stride 2, they are a quarter of that.
        """
        return 4 * self.queries[0] * self.queries[1] * self._token_width

    def forward(self, *frozen: Tensor) -> Tensor:
        """Visual tokens ``[B, S, D]``, from the tokens of the encoders that are read."""
        fusion, projector = self
        read = dict(zip(self._reads, frozen, strict=True))
        low, high = (read.get(name, _UNREAD) for name in ("low", "high"))
        tokens: Tensor = projector(fusion(low, high, self.queries))
        return tokens


class KeptTokens:
    """Keeps the visual tokens of each image, which are computed when they are first asked for.

    Every image is computed by itself. In a batch, single precision would let its tokens depend
    slightly on the other images, and those of a resumed study on where it was interrupted.

    Args:
        visual: BAN and projector.
        read: Reads the tokens of the encoders, given a split and media ids.
    """

    def __init__(
        self, visual: VisualTokens, read: Callable[[str, Sequence[str]], tuple[Tensor, ...]]
    ) -> None:
        self._visual = visual
        self._read = read
        self._kept: dict[tuple[str, str | None, tuple[int, int]], Tensor] = {}
        self._bytes = 0

    def fit(self, images: int) -> bool:
        """Whether the visual tokens of this number of images may be kept."""
        return images * self._visual.bytes_per_image <= MAX_KEPT_BYTES

    @torch.no_grad()
    def select(self, split: str, media_ids: Sequence[str], present: Sequence[bool]) -> Tensor:
        """Visual tokens ``[B, S, D]``; samples without an image share those of zero features."""
        queries = self._visual.queries
        keys = [
            (split, name if there else None, queries)
            for name, there in zip(media_ids, present, strict=True)
        ]
        for key, name in dict(zip(keys, media_ids, strict=True)).items():
            if key not in self._kept:
                self._kept[key] = self._visual(*self._read(split, [name]))[0]
                self._bytes += self._kept[key].nbytes
        tokens = torch.stack([self._kept[key] for key in keys])
        while self._bytes > MAX_KEPT_BYTES:  # for many lengths, or several splits
            self._bytes -= self._kept.pop(next(iter(self._kept))).nbytes
        return tokens

    def forget(self) -> None:
        """Forgets all tokens, once BAN or projector have changed."""
        self._kept.clear()
        self._bytes = 0
