"""A mixture of tasks: samples, weights, and scores of each by its own task."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from tokcom_core.tasks import Multitask
from tokcom_core.tasks.captioning import Captioning
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.mmvet import MmVet
from tokcom_core.tasks.multitask import _image_key
from tokcom_core.tasks.reviews import Sst2
from tokcom_core.tasks.vqa import VqaV2

from .published import write, write_captions, write_clevr, write_sst2, write_vqav2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_clevr(tmp_path, captions=True, images=10)
    write_sst2(tmp_path, 10)
    return tmp_path


def test_groups_and_metrics_are_those_of_all_tasks(root: Path) -> None:
    task = Multitask()
    assert task.groups == (*Clevr.groups, "sst2", "captioning")
    assert task.metrics == ("captioning_cider",)
    assert task.graded and not Multitask(tasks=(Clevr(), Sst2())).graded
    found = task.samples(root, "test")
    assert Counter(found["task"]) == {"clevr": 20, "sst2": 10, "captioning": 10}
    assert Counter(found["task"][:8]) == {"clevr": 4, "sst2": 2, "captioning": 2}
    assert [r.name for r in task.references(root)] == ["blind", "text-oracle"]


def test_an_image_is_described_once(root: Path) -> None:
    found = Multitask().samples(root, "pretraining")
    assert len(found) == len(set(found.media_id)) == 9


def test_no_task_trains_on_what_another_validates_on(root: Path) -> None:
    """The captions stand in another order, so that their last tenth is another image."""
    names = [f"CLEVR_train_{i:06d}.png" for i in reversed(range(10))]
    write_captions(root, "train", {name: ["a red cube"] for name in names})
    task = Multitask()
    held_out = set(task.samples(root, "val").media_id)
    assert len(held_out) == 3  # two images and a review
    for split in ("pretraining", "tuning", "train"):
        assert not held_out & set(task.samples(root, split).media_id)


def test_an_image_of_coco_is_known_by_its_number(root: Path) -> None:
    """VQAv2, of 2014, tests on images that COCO's 2017 split trains on under other names."""
    for split, numbers in (("train", range(1, 11)), ("val", [11])):
        images = [{"id": i, "file_name": f"{i:012d}.jpg"} for i in numbers]
        captions = [{"id": i, "image_id": i, "caption": "a dog"} for i in numbers]
        write(root / "COCO" / f"{split}.json", {"images": images, "annotations": captions})
    write_vqav2(root, "train", [20])
    write_vqav2(root, "val", [3, 4])
    captioning = Captioning(annotations="COCO/{split}.json", images="COCO/{split}2017")
    task = Multitask(tasks=(captioning, VqaV2()))
    tested = {name[-16:] for name in task.samples(root, "test").media_id}
    assert {"000000000003.jpg", "000000000004.jpg"} <= tested
    for split in ("pretraining", "tuning", "train"):
        trained = {name[-16:] for name in task.samples(root, split).media_id}
        assert "000000000005.jpg" in trained
        assert not trained & tested


def test_an_image_is_known_wherever_a_release_has_it() -> None:
    """COCO's by 12 digits, those of OpenImages, as TextVQA and LLaVA have them, by 16."""
    for one, other, alike in (
        ("TextVQA/train_images/0054c91397f2fe05.jpg", "images/textvqa/0054c91397f2fe05.jpg", True),
        ("a/0054c91397f2fe05.jpg", "a/0054c91397f2fe06.jpg", False),
        ("a/10054c91397f2fe05.jpg", "b/10054c91397f2fe05.jpg", False),
        ("train2017/000000000003.jpg", "COCO_val2014_000000000003.jpg", True),
    ):
        assert (_image_key(one) == _image_key(other)) == alike


def test_each_sample_is_scored_by_its_own_task(root: Path) -> None:
    write_captions(root, "val", {f"{i}.png": [f"a big red ball {i}"] for i in range(4)})
    task = Multitask()
    found = task.samples(root, "test")
    scores = task.scores(found.answer, found)
    assert scores == [1.0] * len(found)
    measured = task.measure(found.answer, found, scores)
    assert measured == {"captioning_cider": pytest.approx(1000)}
    some = found.take(range(12))
    scores = task.scores(some.answer, some, corpus=found)
    assert scores == [1.0] * 12


def test_the_score_of_some_captions_is_their_mean_among_all(root: Path) -> None:
    """How rare a word is follows from the split, of one caption alone nothing would."""
    write_captions(root, "val", {f"{i}.png": [f"a big red ball {i}"] for i in range(4)})
    task = Captioning()
    found = task.samples(root, "test")
    one = found.take([0])
    scores = task.scores(one.answer, one, corpus=found)
    assert task.measure(one.answer, one, scores) == {"captioning_cider": pytest.approx(1000)}
    assert task.majority_accuracy(found, one, found) == pytest.approx(scores[0])
    assert task.majority_accuracy(found, one) == 0.0


def test_weights_are_those_of_training_alone(root: Path) -> None:
    plain, weighted = Multitask(), Multitask(weights={"clevr": 1, "sst2": 3})
    train = weighted.samples(root, "train")
    assert len(train) == len(plain.samples(root, "train"))
    assert Counter(train["task"]) == {"clevr": 9, "sst2": 27}
    assert len(set(train.sample_id)) == 18
    assert weighted.samples(root, "test") == plain.samples(root, "test")
    with pytest.raises(ValueError, match="weights of unknown tasks vqav2"):
        Multitask(weights={"vqav2": 1})
    with pytest.raises(ValueError, match="tasks are repeated"):
        Multitask(tasks=("sst2", "sst2"))


class _Humans(Clevr):
    """Questions of people about CLEVR's images, with CLEVR's groups."""

    name: Literal["humans"] = "humans"  # type: ignore[assignment]


def test_scores_of_tasks_that_share_groups_could_not_be_told_apart() -> None:
    with pytest.raises(ValueError, match="tasks clevr and humans share the groups query_color, "):
        Multitask(tasks=(Clevr(), _Humans()))


def test_tasks_without_a_split_are_left_out_of_it(root: Path) -> None:
    row = {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1"}
    write(root / "mm-vet" / "mm-vet.json", {"v1_0": row})
    task = Multitask(tasks=(Sst2(), MmVet()))
    assert set(task.samples(root, "train")["task"]) == {"sst2"}
    found = task.samples(root, "test")
    assert task.submission(found.answer, found) == {"mmvet": {"v1_0": "-1"}}
    with pytest.raises(ValueError, match="no task of mmvet has samples of split 'val'"):
        Multitask(tasks=(MmVet(),)).samples(root, "val")


def test_pretraining_without_captions_asks_questions(root: Path) -> None:
    task = Multitask(tasks=(Sst2(),))
    assert task.samples(root, "pretraining") == task.samples(root, "tuning")


def test_a_study_file_names_its_tasks(root: Path) -> None:
    raw = {"name": "multitask", "tasks": ["sst2", {"name": "clevr", "templates": "paper"}]}
    task = Multitask.model_validate(raw)
    assert task.tasks == (Sst2(), Clevr(templates="paper"))
    assert Multitask.model_validate(task.model_dump(mode="json")) == task
    assert task.identity(root) != Multitask(tasks=(Clevr(),)).identity(root)
    assert Captioning().samples(root, "test")["instruction"][0] == "describe the picture"
