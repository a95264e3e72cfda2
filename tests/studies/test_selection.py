"""A study of all selections, to its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies import load

from .here import run_here
from .small import small_study


def test_selections_are_compared_in_one_study(minimusic: Path, tmp_path: Path) -> None:
    """Of the same tokens sent over the same air; only the learned one costs the devices more."""
    study = small_study(
        data={"folder": str(minimusic)},
        airs=["awgn"],
        methods=[method.model_dump() for method in load("selection").methods],
        tokens=[{"audio": 2, "vision": 2}, {"audio": 4, "vision": 3}],
        evaluation={"questions": 8, "batch_size": 8},
    )
    table = run_here(study, tmp_path / "out").query("reference == ''")
    assert set(table["status"]) == {"ok"}
    assert len(table) == 5 * 2
    for _, rows in table.groupby("tokens_vision"):
        for costs in ("uplink_channel_uses", "control_bits", "airtime_ms", "bs_gflop"):
            assert rows[costs].nunique() == 1, costs
        gflop = rows.set_index("method")["device_gflop"]
        frozen = gflop.drop("learned")
        assert frozen.nunique() == 1
        scored = 2e-9 * (50 + 117) * 96
        assert gflop["learned"] - frozen.iloc[0] == pytest.approx(scored, rel=1e-3)
    features = list((tmp_path / "out" / "artifacts").glob("features-*"))
    assert len(features) == 2 * 2 * 4 + 1, "of two media in two data sets, and of texts"
