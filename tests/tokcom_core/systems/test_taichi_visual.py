"""Visual tokens that are kept while nothing that makes them learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
import torch
from torch import Tensor

from tokcom_core.systems.taichi import visual
from tokcom_core.systems.taichi.visual import KeptTokens, VisualTokens


class _Visual:
    """Ones, as many as there are queries, of four features each; counts what it is asked."""

    queries = (1, 1)
    asked = 0

    @property
    def bytes_per_image(self) -> int:
        return 16 * self.queries[0] * self.queries[1]

    def __call__(self, frozen: Tensor) -> Tensor:
        self.asked += 1
        return torch.ones(1, self.queries[0] * self.queries[1], 4) * frozen


def _read(split: str, media_ids: Sequence[str]) -> tuple[Tensor, ...]:
    return (torch.tensor(float(media_ids[0])),)


def test_what_is_kept_is_bounded_whatever_its_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(visual, "MAX_KEPT_BYTES", 4 * 16)
    made = _Visual()
    kept = KeptTokens(cast(VisualTokens, made), _read)
    everything = ["0", "1", "2", "3"]
    assert kept.fit(4)
    assert not kept.fit(5)
    for _ in range(2):
        assert kept.select("train", everything, [True] * 4)[:, 0, 0].tolist() == [0, 1, 2, 3]
    assert made.asked == 4
    made.queries = (1, 2)  # another token length: two of the first ones have to go
    assert kept.select("train", ["1"], [True]).shape == (1, 2, 4)
    made.queries = (1, 1)
    kept.select("train", ["2", "3"], [True, True])
    assert made.asked == 5
    kept.select("train", ["0"], [True])
    assert made.asked == 6
