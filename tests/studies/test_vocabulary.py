"""Data that the language model cannot say are found out before anything is encoded."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from studies.execution.data import check_data
from studies.plan.cells import Plan
from studies.plan.study import Study
from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR, annotation_file, sampling_file
from tokcom_core.datasets.video import Sampling


@pytest.fixture
def annotations(minimusic: Path, tmp_path: Path) -> Path:
    """MiniMUSIC's annotation files, to be changed; no clips."""
    for name in (MUSIC_AVQA, VALOR):
        source = annotation_file(minimusic / name, "desc", "train").parent
        shutil.copytree(source, tmp_path / "data" / source.relative_to(minimusic))
    return tmp_path / "data"


def _change(file: Path, rows: slice, **fields: Any) -> None:
    entries = json.loads(file.read_text())
    for entry in entries[rows]:
        entry.update(fields)
    file.write_text(json.dumps(entries))


def test_an_answer_that_cannot_be_said_is_refused_before_anything_runs(
    annotations: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    _change(annotation_file(annotations / MUSIC_AVQA, "avqa", "val"), slice(1), anser="zebra")
    out = tmp_path / "out"
    override = f"data={{folder: {annotations}}}"
    said = refused("study", "run", "quickstart", "--out", out, "--set", override)
    assert "the language model cannot say 1 of the" in said
    assert "'zebra'" in said
    assert not list(out.glob("artifacts/*"))


def test_unknown_words_are_warned_of(annotations: Path, caplog: pytest.LogCaptureFixture) -> None:
    plan = Plan(Study(name="s", data={"folder": annotations}))
    check_data(plan, annotations)
    assert not caplog.records
    captions = annotation_file(annotations / VALOR, "desc", "train")
    _change(captions, slice(None, None, 2), desc="a zebra dances with a gnu")
    with caplog.at_level(logging.WARNING):
        check_data(plan, annotations)
    (warning,) = caplog.messages
    assert "words of the captions are unknown to the language model" in warning
    assert "'zebra'" in warning


_CUT = {"name": "unaligned", "label": "cut", "question_tokens": 2}
_OF_IMAGES = {"name": "aligned", "label": "images", "models": {"language": "pocket-images"}}


def _checked(data: Path, *methods: Any) -> None:
    check_data(Plan(Study(name="s", data={"folder": data}, methods=methods)), data)


@pytest.mark.parametrize("first", ["aligned", "unaligned"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (_CUT, "method 'cut': .* differ only behind their first 2 tokens"),
        (_OF_IMAGES, "method 'images': the language model cannot say"),
    ],
)
def test_the_data_are_checked_for_every_method(
    annotations: Path, first: str, other: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _checked(annotations, first, other)


def test_every_method_is_warned_for_and_no_warning_comes_twice(
    annotations: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = sampling_file(annotations / MUSIC_AVQA)
    file.parent.mkdir()
    file.write_text(json.dumps(asdict(Sampling())))
    captions = annotation_file(annotations / VALOR, "desc", "train")
    _change(captions, slice(None, None, 2), desc="a zebra dances with a gnu")
    longer = {"name": "aligned", "label": "longer", "alignment": {"steps": 7}}
    first = {"name": "aligned", "label": "first", "models": {"frames": "first"}}
    _checked(annotations, "unaligned", "aligned", longer, "digital", first)
    words, frames = caplog.messages
    assert "words of the captions are unknown" in words
    assert "models.frames: first, but" in frames
