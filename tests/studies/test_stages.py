"""Samples of a study: those of unreadable clips are left out, and said to be."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from studies.cells import Plan
from studies.folder import StudyFolder
from studies.stages import Stages, write_samples
from studies.study import Study
from tokcom_core.datasets.layout import MUSIC_AVQA, sound_file
from tokcom_core.datasets.samples import load_task_samples, read_samples


def test_a_damaged_clip_is_named_and_its_questions_are_left_out(
    minimusic: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    shutil.copytree(minimusic, data, ignore=shutil.ignore_patterns("video"))
    clip = load_task_samples(data, "val").video_id[0]
    sound_file(data / MUSIC_AVQA, clip).write_bytes(b"RIFF")
    study = Study(name="s", data={"folder": data})
    folder = StudyFolder(tmp_path / "out")
    folder.begin(study)
    features = Plan(study).features()
    stages = Stages(study, folder, features)
    for spec in features:
        stages.run(spec)
    with caplog.at_level(logging.WARNING):
        write_samples(folder, study, features)
    assert f"skipped 1 clips of val: {clip}: " in caplog.text
    kept = read_samples(folder.samples("val"))
    assert clip not in kept.video_id
    assert len(kept) < len(load_task_samples(data, "val"))
    assert len(read_samples(folder.samples("test"))) == len(load_task_samples(data, "test"))
