"""A study of all selections, to its table."""

from __future__ import annotations

from pathlib import Path

import pytest

from studies import load
from tokcom_core.encoders import Ast, Vivit

from .here import run_here
from .small import mlms, small_study


def test_selections_are_compared_in_one_study(minimusic: Path, tmp_path: Path) -> None:
    """They send as much over the same air; only the learned one costs the devices more."""
    fine_tuning = {"steps": 1, "reference_steps": 1, "batch_size": 4}
    methods = [{**method.model_dump(), "alignment": "none"} for method in load("selection").methods]
    study = small_study(
        data={"folder": str(minimusic)},
        airs=["awgn"],
        methods=methods,
        tokens={"audio": 2, "vision": 3},
        evaluation={"questions": 4, "batch_size": 4},
        **mlms(fine_tuning=fine_tuning),
    )
    table = run_here(study, tmp_path / "out").set_index("method")
    table = table.loc[["slide", "mean-pool", "norm", "attention", "learned"]]
    assert set(table["status"]) == {"ok"}
    for costs in ("uplink_channel_uses", "control_bits", "airtime_ms", "bs_gflop"):
        assert table[costs].nunique() == 1, costs
    gflop = table["device_gflop"]
    frozen = gflop.drop("learned")
    assert frozen.nunique() == 1
    shapes = (Ast().shape(), Vivit().shape())
    scored = sum(2e-9 * (own.length - own.summary_tokens) * own.width for own in shapes)
    assert gflop["learned"] - frozen["slide"] == pytest.approx(scored, rel=1e-3)
    features = list((tmp_path / "out" / "artifacts").glob("features-*"))
    assert len(features) == 2 * 2 * 4 + 1, "of two media in two data sets, and of texts"
