"""Splits, conversations and templates of instruction tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest

from tokcom_core.datasets.kept import KeptRows
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Multitask, Task
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.instructions import Example, InstructionTask, Published, text_only
from tokcom_core.tasks.templates import Kind

from .published import write_clevr


class Colors(InstructionTask):
    """Three questions about each of ten pictures, and one about a text."""

    name: str = "colors"
    captioned: bool = True
    kind: ClassVar[Kind] = "short-answer"

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        caption = "a red ball" if self.captioned else ""
        asked = [
            Example(f"{i}-{q}", f"images/{i}.png", f"what {q} ?", "red", "color", caption)
            for i in range(10)
            for q in range(3)
        ]
        return [*asked, Example("t", text_only("t"), "a fine film", "positive", "color")]

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return [root / "a.json"]


def test_validation_is_the_last_tenth_of_the_training_images(tmp_path: Path) -> None:
    """Of eleven media that is one, which no other split of the training data has."""
    task = Colors()
    held_out = set(task.samples(tmp_path, "val").media_id)
    assert held_out == {"text:t"}
    for split in ("pretraining", "tuning", "train"):
        assert not held_out & set(task.samples(tmp_path, split).media_id)
    assert len(task.samples(tmp_path, "train")) == 30
    assert len(task.samples(tmp_path, "test")) == 31


def test_questions_about_one_image_are_turns_of_a_conversation(tmp_path: Path) -> None:
    tuning = Colors(turns=2).samples(tmp_path, "tuning")
    assert len(tuning) == 20
    assert json.loads(tuning["conversation"][0]) == [["what 0 ?", "red"], ["what 1 ?", "red"]]
    assert json.loads(tuning["conversation"][1]) == [["what 2 ?", "red"]]
    assert tuning.media_id[0] == tuning.media_id[1] == "images/0.png"


def test_pretraining_describes_each_image_once(tmp_path: Path) -> None:
    found = Colors().samples(tmp_path, "pretraining")
    assert len(found) == len(set(found.media_id)) == 10
    assert json.loads(found["conversation"][0]) == [["describe the picture", "a red ball"]]
    assert (found.answer[0], found["instruction"][0]) == ("a red ball", "describe the picture")


def test_without_captions_pretraining_asks_questions(tmp_path: Path) -> None:
    task = Colors(captioned=False)
    pretraining, tuning = (task.samples(tmp_path, s) for s in ("pretraining", "tuning"))
    assert pretraining == tuning
    assert [r.name for r in task.references(tmp_path)] == ["blind"]
    assert [r.name for r in Colors().references(tmp_path)] == ["blind", "text-oracle"]


def test_other_splits_have_no_conversation(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        assert set(Colors().samples(tmp_path, split)["conversation"]) == {"[]"}


def test_the_papers_instruction_asks_for_a_short_answer(tmp_path: Path) -> None:
    told = Colors(templates="paper").samples(tmp_path, "test")["instruction"][0]
    assert told.startswith("Instruction: Please observe the provided image")
    assert "\nInput: what 0 ?\n" in told
    assert told.endswith("Answer the question using a single word or phrase.")


def test_a_sample_without_an_image_has_no_file_and_no_bits(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(b"12345")
    task = Colors()
    assert task.media_file(tmp_path, "test", "image", text_only("t")) is None
    assert task.upload_bits(tmp_path, "test", text_only("t")) == {"image": 0}
    assert task.upload_bits(tmp_path, "test", "images/0.png") == {"image": 40}
    with pytest.raises(ValueError, match=r"1\.png cannot be uploaded"):
        task.upload_bits(tmp_path, "test", "images/1.png")


def test_identity_is_that_of_the_contents(tmp_path: Path) -> None:
    task = Colors()
    with pytest.raises(ValueError, match=r"no annotation file .*a\.json"):
        task.identity(tmp_path)
    (tmp_path / "a.json").write_text("1")
    first = task.identity(tmp_path)
    assert first == task.identity(tmp_path)
    (tmp_path / "a.json").write_text("2")
    assert task.identity(tmp_path) != first


def _all_splits(task: Task, root: Path) -> list[Samples]:
    return [task.samples(root, split) for split in task.splits]


@pytest.fixture
def parts_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts of MiniCLEVR's questions that have been read, one after the other."""
    parts: list[str] = []
    read = Clevr.examples

    def counted(self: Clevr, root: Path, part: Published) -> Sequence[Example]:
        parts.append(part)
        return read(self, root, part)

    monkeypatch.setattr(Clevr, "examples", counted)
    return parts


@pytest.mark.parametrize("task", [Clevr(), Multitask(tasks=(Clevr(),))], ids=["alone", "in many"])
def test_a_pass_over_the_splits_reads_each_part_once(
    task: Task, tmp_path: Path, parts_read: list[str]
) -> None:
    write_clevr(tmp_path, captions=True, images=10)
    before = _all_splits(task, tmp_path)
    assert _all_splits(task, tmp_path) == before
    assert parts_read == ["train", "test"]


def test_changed_annotations_are_read_again(tmp_path: Path, parts_read: list[str]) -> None:
    write_clevr(tmp_path, captions=True, images=10)
    before = len(Clevr().samples(tmp_path, "test"))
    write_clevr(tmp_path, captions=True, images=12)
    assert len(Clevr().samples(tmp_path, "test")) > before
    assert parts_read == ["test", "test"]


def test_tasks_of_other_settings_are_read_for_themselves(
    tmp_path: Path, parts_read: list[str]
) -> None:
    write_clevr(tmp_path, captions=True, images=10)
    for captions in ("captions/captions_{split}.json", "none_{split}.json"):
        Clevr(captions=captions).samples(tmp_path, "val")
    assert parts_read == ["train", "train"]


def test_the_rows_unused_for_longest_go_first() -> None:
    kept: KeptRows[int] = KeptRows(max_rows=3)
    read: list[int] = []

    def rows(count: int) -> Sequence[int]:
        read.append(count)
        return range(count)

    for count in (1, 2, 1, 3, 1, 3, 9, 9):
        assert kept.rows(count, (), partial(rows, count)) == tuple(range(count))
    assert read == [1, 2, 3, 1, 3, 9]
