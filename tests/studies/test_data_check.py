"""``tokcom data check``: what a data folder holds, and what is missing or damaged in it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from studies.cli.main import main
from tests.tokcom_core.clips import write_sound
from tests.tokcom_core.tasks.published import write, write_clevr
from tokcom_core.datasets.layout import (
    MIN_SAMPLES,
    MUSIC_AVQA,
    VALOR,
    annotation_file,
    frames_folder,
    sound_file,
    video_file,
)
from tokcom_core.datasets.minimusic.write import write_minimusic
from tokcom_core.tasks.catalogue import INSTRUCTION_TASKS
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.folders import check_splits, tasks_in
from tokcom_core.tasks.mme import Mme

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("TOKCOM_REAL_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture
def checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Checks a folder; returns the exit code and what is shown, without spaces at line ends."""

    def run(folder: Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["tokcom", "data", "check", str(folder)])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
        lines = capsys.readouterr().out.splitlines()
        return code, "\n".join(line.rstrip() for line in lines).strip()

    return run


def _example() -> tuple[str, str]:
    """The folder that the docs show, and its check."""
    section = (ROOT / "docs" / "minimusic.md").read_text().split("## The folder")[1]
    tree, commands = (block.split("```")[0] for block in section.split("```text\n")[1:3])
    return tree, commands


@pytest.fixture(scope="module")
def twelve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example of the docs, with recordings alone."""
    root = tmp_path_factory.mktemp("twelve")
    write_minimusic(root, 12, 1)
    return root


def test_the_docs_example_is_as_shown(
    twelve: Path,
    tmp_path: Path,
    checked: Callable[..., tuple[int, str]],
    shown: Callable[..., str],
) -> None:
    root = shutil.copytree(twelve, tmp_path / "example")
    code, before = checked(root)
    assert code == 1
    assert [line.split() for line in before.splitlines()[2:6]] == [
        ["avqa", "align", "5", "-", "5", "0", "5", "0", "0"],
        ["avqa", "train", "30", "8", "of", "9", "5", "0", "5", "0", "0"],
        ["avqa", "val", "6", "4", "of", "9", "1", "0", "1", "0", "0"],
        ["avqa", "test", "6", "4", "of", "9", "1", "0", "1", "0", "0"],
    ]
    assert before.endswith(f"'tokcom data prepare {root}' extracts frames and sound")
    shown("data", "prepare", root)
    code, after = checked(root)
    assert code == 0
    tree, check = _example()
    assert after == check.strip()
    for line in tree.strip().splitlines():
        place = line.split("  ")[0].strip()
        assert list(root.glob(place)), place


def test_missing_and_damaged_clips_are_named(
    minimusic: Path, tmp_path: Path, checked: Callable[..., tuple[int, str]]
) -> None:
    root = shutil.copytree(minimusic, tmp_path / "data")
    avqa, valor = root / MUSIC_AVQA, root / VALOR
    ids = sorted(file.stem for file in (valor / "video").iterdir())
    sound = sound_file(valor, ids[0])
    sound.write_bytes(sound.read_bytes()[:2000])
    (frames_folder(valor, ids[1]) / "frame_0002.png").write_text("no picture")
    shutil.rmtree(frames_folder(valor, ids[2]))
    video = video_file(valor, ids[2])
    video.write_bytes(video.read_bytes()[:2000])
    shutil.rmtree(frames_folder(valor, ids[3]))
    gone = sorted(file.stem for file in (avqa / "video").iterdir())[-5:]
    for name in gone:
        video_file(avqa, name).unlink()
        sound_file(avqa, name).unlink()
        shutil.rmtree(frames_folder(avqa, name))
    code, said = checked(root)
    assert code == 1
    align, *_, test = said.splitlines()[2:6]
    assert align.split()[4:] == ["24", "20", "1", "0", "3"]
    assert test.split()[-5:] == ["7", "2", "0", "5", "0"]
    assert f"avqa, align: VALOR/extraction/ast_audio/{ids[0]}.wav cannot be read: it ends" in said
    assert f"avqa, align: a frame in VALOR/extraction/vivit_frames/{ids[1]} cannot be" in said
    assert f"avqa, align: VALOR/video/{ids[2]}.mp4 cannot be read" in said
    assert f"avqa, test: missing MUSIC-AVQA/video/{gone[0]}.mp4" in said
    assert "avqa, test: and 2 more" in said


def test_other_tasks_are_found_by_their_files(
    tmp_path: Path, checked: Callable[..., tuple[int, str]]
) -> None:
    write_clevr(tmp_path)
    (task,) = tasks_in(tmp_path)
    assert task.name == "clevr"
    images = tmp_path / "CLEVR_v1.0" / "images"
    for split in ("train", "val"):
        (images / split).mkdir(parents=True)
        for number in range(3):
            picture = Image.new("RGB", (16, 16))
            picture.save(images / split / f"CLEVR_{split}_{number:06d}.png")
    code, said = checked(tmp_path)
    assert (code, len(said.splitlines())) == (0, 7)
    (images / "val" / "CLEVR_val_000001.png").unlink()
    (images / "val" / "CLEVR_val_000002.png").write_text("no picture")
    code, said = checked(tmp_path)
    assert code == 1
    assert "clevr, test: missing CLEVR_v1.0/images/val/CLEVR_val_000001.png" in said
    assert "clevr, test: image CLEVR_v1.0/images/val/CLEVR_val_000002.png cannot be read" in said


def test_a_new_task_says_itself_whether_its_data_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Searching(Mme):
        name: str = "searching"
        folder: str = "searched"

    write_clevr(tmp_path)
    monkeypatch.setitem(INSTRUCTION_TASKS, "searching", Searching)
    assert [type(task) for task in tasks_in(tmp_path)] == [Clevr]
    (tmp_path / "searched").mkdir()
    assert [type(task) for task in tasks_in(tmp_path)] == [Clevr, Searching]


def test_images_are_read_whatever_their_names_end_in(
    tmp_path: Path, checked: Callable[..., tuple[int, str]]
) -> None:
    """As the encoders read them, which take PNG and JPEG alone."""
    names = {"a.webp": "WEBP", "b.gif": "GIF", "c": "PNG", "d.png": "PNG"}
    asked = {"question": "is it red ?", "answer": "yes", "program": [{"function": "exist"}]}
    for split in ("train", "val"):
        for name, kind in names.items():
            file = tmp_path / "CLEVR_v1.0" / "images" / split / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (16, 16)).save(file, kind)
        rows = [{"image_filename": name, **asked} for name in names]
        file = tmp_path / "CLEVR_v1.0" / "questions" / f"CLEVR_{split}_questions.json"
        write(file, {"questions": rows})
    code, said = checked(tmp_path)
    assert code == 1
    for name in ("a.webp", "b.gif"):
        assert f"clevr, test: image CLEVR_v1.0/images/val/{name} cannot be read" in said
    assert "images/val/c" not in said and "images/val/d" not in said


def test_sounds_too_short_for_an_encoder_are_damaged(
    minimusic: Path, tmp_path: Path, checked: Callable[..., tuple[int, str]]
) -> None:
    root = shutil.copytree(minimusic, tmp_path / "data")
    sounds = sorted((root / VALOR / "extraction" / "ast_audio").iterdir())
    for file, samples in zip(sounds, (0, MIN_SAMPLES - 1, MIN_SAMPLES), strict=False):
        write_sound(file, np.zeros(samples, "<i2"))
    code, said = checked(root)
    assert code == 1
    for file, samples in zip(sounds, (0, MIN_SAMPLES - 1), strict=False):
        assert f"{file.name}: {samples} samples are too short for a spectrogram" in said
    assert sounds[2].name not in said


def test_a_task_is_listed_though_a_part_of_it_is_missing(
    tmp_path: Path, checked: Callable[..., tuple[int, str]]
) -> None:
    for part, kind in (("train", "pos"), ("train", "neg"), ("test", "pos")):
        write(tmp_path / "aclImdb" / part / kind / "0_9.txt", "a film")
    code, said = checked(tmp_path)
    assert code == 1
    assert "no reviews in aclImdb/test/neg" in said


def test_repeated_ids_and_shared_clips_are_told(
    minimusic: Path, tmp_path: Path, checked: Callable[..., tuple[int, str]]
) -> None:
    root = shutil.copytree(minimusic, tmp_path / "data")
    asked = [annotation_file(root / MUSIC_AVQA, "avqa", split) for split in ("val", "test")]
    val, test = (json.loads(file.read_text()) for file in asked)
    asked[0].write_text(json.dumps([*val, {**val[0], "anser": "two"}, test[0]]))
    code, said = checked(root)
    assert code == 0
    assert "avqa, val: 1 ids occur more than once about the same clip or image" in said
    assert "avqa, val: 1 of " in said and "are in the test split as well" in said
    assert "avqa, test: " not in said


def test_a_folder_without_the_layout_is_refused(
    twelve: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    said = refused("data", "check", tmp_path)
    assert "neither VALOR/annotation/desc_train.json, MUSIC-AVQA/annotation/avqa-train.json" in said
    assert "--clips 12' writes an example" in said
    assert f"give {twelve}, which holds it" in refused("data", "check", twelve / VALOR)
    assert "no folder /nowhere" in refused("data", "check", "/nowhere")


@pytest.mark.skipif(not REAL.is_dir(), reason="no real annotations; set TOKCOM_REAL_DATA")
def test_real_annotations_are_counted() -> None:
    (task,) = tasks_in(REAL)
    checks = {split.split: split for split in check_splits(task, REAL, read=False)}
    assert (checks["val"].samples, checks["test"].samples) == (4595, 9185)
    assert len(checks["test"].groups) == 9
    assert (checks["val"].repeated_ids, checks["test"].repeated_ids) == (27, 55)
    assert (checks["val"].tested, checks["val"].media) == (2296, 3815)
