"""``tokcom study tsne``: a picture and a table of an alignment, mistakes in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from studies.figures.tsne import Alignment
from studies.plan.cells import Plan
from studies.storage.folder import StudyFolder

from .here import encoded
from .small import mlms, small_study

ALIGNED = {
    **mlms(alignment={"steps": 40, "batch_size": 24, "learning_rate": 0.003}),
    "methods": ["aligned", "unaligned"],
    "airs": ["awgn"],
    "train_snr_db": 20,
}


@pytest.fixture(scope="module")
def aligned(minimusic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was interrupted after its alignment."""
    out = tmp_path_factory.mktemp("tsne") / "aligned"
    study = small_study(data={"folder": str(minimusic)}, **ALIGNED)
    runner, _ = encoded(study, out)
    cells = [cell for cell in Plan(study).known_cells({}) if cell.method == "aligned"]
    runner.run(cells[0].trained.lineage[0])
    return out


def test_an_alignment_is_drawn_and_its_clips_are_retrieved(
    aligned: Path, shown: Callable[..., str]
) -> None:
    said = shown("study", "tsne", aligned)
    picture, file = (aligned / "report" / f"tsne{suffix}" for suffix in (".png", ".csv"))
    assert str(picture) in said and str(file) in said
    assert np.asarray(Image.open(picture)).std() > 0
    table = pd.read_csv(file, dtype={"clip": str})
    assert list(table) == ["clip", "stream", "panel", "x", "y", "recall_at_1"]
    assert list(table["panel"].unique()) == ["before", "after"]
    assert set(table["stream"]) == {"caption", "audio", "vision"}
    test = pd.read_parquet(StudyFolder(aligned).samples("test"))
    clips = table.groupby(["panel", "stream"])["clip"].agg(list)
    assert all(own == list(test["media_id"].unique()) for own in clips)
    assert table[["x", "y"]].notna().all(axis=None)
    recalls = table.groupby(["stream", "panel"])["recall_at_1"].first().unstack()
    assert recalls.loc["caption"].isna().all()
    others = recalls.drop("caption")
    assert others["after"].mean() > others["before"].mean()
    assert others.max(axis=None) <= 1
    assert f"{others.loc['vision', 'after']:.3f}" in said


def test_fewer_clips_of_a_method_are_the_same_again(
    aligned: Path, shown: Callable[..., str]
) -> None:
    said = shown("study", "tsne", aligned, "--method", "aligned", "--clips", 4)
    assert "4 test clips, by chance 0.250" in said
    first = (aligned / "report" / "tsne.csv").read_bytes()
    assert len(pd.read_csv(aligned / "report" / "tsne.csv")) == 4 * 3 * 2
    shown("study", "tsne", aligned, "--clips", 4)
    assert (aligned / "report" / "tsne.csv").read_bytes() == first


def test_recall_counts_whose_own_anchor_is_nearest_by_angle() -> None:
    anchors = np.eye(4, dtype=np.float32)
    scaled = 5 * anchors
    swapped = anchors[[1, 0, 2, 3]]
    panels = {"before": {"a": anchors, "b": swapped}, "after": {"a": anchors, "b": scaled}}
    found = Alignment("title", Path(), list("wxyz"), panels).recalls
    assert found.loc["b"].to_dict() == {"before": 0.5, "after": 1.0}


def test_mistakes(aligned: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    def said(*arguments: object) -> str:
        return refused("study", "tsne", *arguments)

    assert "no study in" in said(tmp_path)
    assert "Invalid value for '--clips'" in said(aligned, "--clips", 1)
    assert "'unaligned' has no phase that aligns" in said(aligned, "--method", "unaligned")
    unknown = said(aligned, "--method", "other")
    assert unknown.endswith("no method 'other' with a phase that aligns streams; those that have "
                            "one: aligned")  # fmt: skip
    StudyFolder(tmp_path / "begun").begin(StudyFolder(aligned).open())
    assert "alignment of aligned is not finished" in said(tmp_path / "begun")
    assert not (tmp_path / "begun" / "report").exists()


def test_a_study_without_an_alignment_is_refused(
    minimusic: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    study = small_study(data={"folder": str(minimusic)}, methods=["unaligned"])
    StudyFolder(tmp_path / "out").begin(study)
    said = refused("study", "tsne", tmp_path / "out")
    assert said == "tokcom: no method of this study has a phase that aligns streams"


def test_test_clips_without_captions_are_refused(
    aligned: Path, refused: Callable[..., str]
) -> None:
    file = StudyFolder(aligned).samples("test")
    before = file.read_bytes()
    pd.read_parquet(file).assign(caption="").to_parquet(file)
    try:
        assert "0 different clips of split 'test' have caption" in refused("study", "tsne", aligned)
    finally:
        file.write_bytes(before)


def test_a_missing_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    assert refused("study", "tsne", tmp_path).endswith('pip install "tokcom[tsne]"')
