"""Readers of published formats, on small files in these formats."""

from __future__ import annotations

import base64
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import InstructionTask, Task
from tokcom_core.tasks.captioning import Captioning
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.instructions import Example
from tokcom_core.tasks.llava import Llava
from tokcom_core.tasks.mmbench import MmBench, chosen_option
from tokcom_core.tasks.mme import COGNITION, PERCEPTION, Mme
from tokcom_core.tasks.mmvet import MmVet
from tokcom_core.tasks.reviews import Imdb, Sst2
from tokcom_core.tasks.vqa import TextVqa, VqaV2

from .published import write, write_captions, write_clevr, write_sst2, write_vqav2


def test_clevr_groups_questions_by_what_their_programs_return(tmp_path: Path) -> None:
    write_clevr(tmp_path)
    found = Clevr().samples(tmp_path, "test")
    assert found.group[:2] == ("query_color", "compare_integer")
    assert found.media_id[0] == "CLEVR_v1.0/images/val/CLEVR_val_000000.png"
    assert found["instruction"][0] == "what color ?"
    assert found["caption"][0] == "small blue metal cube behind 0 , small red metal cube behind 1"


def test_clevrs_captions_come_before_its_scenes(tmp_path: Path) -> None:
    write_clevr(tmp_path)
    before = Clevr().identity(tmp_path)
    write_clevr(tmp_path, captions=True)
    assert Clevr().samples(tmp_path, "test")["caption"][0] == "a red cube"
    assert Clevr().identity(tmp_path) != before


def test_captions_of_other_images_do_not_stand_for_clevrs_scenes(tmp_path: Path) -> None:
    """COCO's are in a file of the same name. Scenes describe the images that have no caption."""
    write_clevr(tmp_path)
    scenes = Clevr().samples(tmp_path, "test")["caption"]
    write_captions(tmp_path, "val", {"000000000139.jpg": ["a cat"]})
    assert Clevr().samples(tmp_path, "test")["caption"] == scenes
    assert Clevr().has_captions(tmp_path)
    before = Clevr().identity(tmp_path)
    write_captions(tmp_path, "val", {"CLEVR_val_000001.png": ["a cube"], "a.jpg": ["a cat"]})
    found = Clevr().samples(tmp_path, "test")["caption"]
    assert found == (*scenes[:2], "a cube", "a cube", *scenes[4:])
    assert Clevr().identity(tmp_path) != before
    (tmp_path / "CLEVR_v1.0" / "scenes" / "CLEVR_val_scenes.json").unlink()
    assert Clevr().samples(tmp_path, "test")["caption"] == ("", "", "a cube", "a cube", "", "")
    assert Clevr().has_captions(tmp_path)
    write_captions(tmp_path, "val", {"CLEVR_val_000001.png": [], "a.jpg": ["a cat"]})
    assert not Clevr().has_captions(tmp_path)


def test_a_caption_file_for_both_splits_is_refused() -> None:
    """Every image would be trained and tested on."""
    with pytest.raises(ValueError, match=r"would be trained and tested on; put \{split\} in it"):
        Captioning(annotations="captions/captions_val.json")
    assert Captioning(images="photos").images == "photos", "their names tell the splits apart"


@pytest.mark.parametrize("wrong", ["x/{Split}", "x/{}", "x/{year}", "x_{split", "{split.x}"])
def test_a_path_takes_no_other_placeholder_than_the_split(wrong: str) -> None:
    for keys in ({"annotations": wrong}, {"images": wrong}):
        with pytest.raises(ValueError, match=r"whose only placeholder is \{split\}"):
            Captioning.model_validate(keys)
    with pytest.raises(ValueError, match=r"whose only placeholder is \{split\}"):
        Clevr(captions=wrong)


def test_files_elsewhere_are_refused(tmp_path: Path) -> None:
    write_clevr(tmp_path / "data", captions=True)
    task = Captioning(annotations=f"{tmp_path}/elsewhere/captions_{{split}}.json")
    with pytest.raises(ValueError, match=r"is not in .*data; task captioning takes paths below"):
        task.identity(tmp_path / "data")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[", "is not JSON"),
        ({"questions": 3}, "a JSON list of objects under 'questions'"),
        ({"questions": [{"image_filename": "a.png"}]}, "lacks the field"),
    ],
)
def test_a_damaged_file_is_one_clear_line(content: object, message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "CLEVR_v1.0" / "questions" / "CLEVR_val_questions.json", content)
    with pytest.raises(ValueError, match=message) as found:
        Clevr().samples(tmp_path, "test")
    assert str(file) in str(found.value)
    assert "\n" not in str(found.value)


def test_vqav2(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_vqav2(tmp_path, split, [7])
    task = VqaV2()
    found = task.samples(tmp_path, "test")
    assert found.media_id == ("VQAv2/val2014/COCO_val2014_000000000007.jpg",)
    assert (found.group, found.answer) == (("vqav2_other",), ("red",))
    assert task.scores(["The Red!"], found) == [1.0]
    assert task.scores(["dark red"], found) == [pytest.approx(0.6)]
    assert _measured(task, ["dark red"], found) == {"vqav2_accuracy": pytest.approx(60)}
    assert task.submission(["red"], found) == [{"question_id": 70, "answer": "red"}]
    twice = found.take([0, 0]).with_unique_ids()
    assert twice.sample_id == ("70", "70-2")
    assert [own["question_id"] for own in task.submission(["red", "red"], twice)] == [70, 70]
    assert len(task.samples(tmp_path, "train")) == 1
    named = Samples({**found.columns, "sample_id": ("kitchen-7",)})
    assert task.submission(["red"], named) == [{"question_id": "kitchen-7", "answer": "red"}]
    questions = tmp_path / "VQAv2" / "v2_OpenEnded_mscoco_val2014_questions.json"
    write(questions, {"questions": []})
    with pytest.raises(ValueError, match=rf"annotations\.json: {questions.name} lacks 70"):
        task.samples(tmp_path, "test")


def test_textvqa_with_and_without_ocr_tokens(tmp_path: Path) -> None:
    row = {"question_id": 5, "image_id": "ab", "question": "what brand?", "answers": ["nokia"] * 10}
    write(tmp_path / "TextVQA" / "TextVQA_0.5.1_val.json", {"data": [row]})
    plain = TextVqa().samples(tmp_path, "test")
    assert plain["instruction"] == ("what brand?",)
    assert plain.media_id == ("TextVQA/train_images/ab.jpg",)
    assert TextVqa().scores(["Nokia."], plain) == [1.0]  # normalised although all ten agree
    tokens = {"image_id": "ab", "ocr_tokens": ["NOKIA", "6:15"]}
    write(tmp_path / "TextVQA" / "TextVQA_Rosetta_OCR_v0.2_val.json", {"data": [tokens]})
    told = TextVqa(ocr_tokens=True).samples(tmp_path, "test")["instruction"]
    assert told == ("what brand?\nReference OCR token: NOKIA, 6:15",)


def test_sst2_keeps_quotes_and_has_no_images(tmp_path: Path) -> None:
    write_sst2(tmp_path)
    found = Sst2().samples(tmp_path, "test")
    assert found.answer == ("negative", "positive", "negative", "positive")
    assert found["instruction"][0] == 'is this review positive or negative : a "dull" film 0'
    assert Sst2().media_file(tmp_path, "test", "image", found.media_id[0]) is None
    write(tmp_path / "SST-2" / "dev.tsv", "sentence\tlabel\nfine\t2\n")
    with pytest.raises(ValueError, match="label '2' of row 0 is not 0 or 1"):
        Sst2().samples(tmp_path, "test")
    write(tmp_path / "SST-2" / "dev.tsv", "text\tlabel\nfine\t1\n")
    with pytest.raises(ValueError, match="no columns sentence; it has text, label"):
        Sst2().samples(tmp_path, "test")


@pytest.mark.parametrize("task", [VqaV2(), Imdb(), Clevr()])
def test_whether_there_are_captions_is_known_without_reading_the_questions(
    task: InstructionTask, tmp_path: Path
) -> None:
    assert not task.has_captions(tmp_path), "there are no files at all"


def test_imdb_alternates_positive_and_negative_reviews(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for i in range(5):
            write(tmp_path / "aclImdb" / part / "pos" / f"{i}_9.txt", f"Good<br /><br />{i}")
            write(tmp_path / "aclImdb" / part / "neg" / f"{i}_1.txt", f"Bad {i}")
    found = Imdb().samples(tmp_path, "test")
    assert found.answer[:4] == ("positive", "negative") * 2
    assert found["question"][0] == "Good 0"
    assert len(Imdb().samples(tmp_path, "val")) == 1
    with pytest.raises(ValueError, match="no reviews in"):
        Imdb(folder="elsewhere").samples(tmp_path, "test")


def _write_mme(root: Path) -> None:
    for i, subtask in enumerate((*PERCEPTION, *COGNITION)):
        folder = root / Mme().folder / subtask
        apart = i % 2  # both layouts occur in the published archive
        for image in ("a", "b"):
            questions = f"Is it {image}?\tYes\nIs it c?\tNo\n"
            texts = folder / "questions_answers_YN" if apart else folder
            write(texts / f"{image}.txt", questions)
            write((folder / "images" if apart else folder) / f"{image}.jpg", "jpeg")


def test_mme_needs_both_answers_about_an_image(tmp_path: Path) -> None:
    """Three of four right: acc .75, acc+ .5, a score of 125 a subtask."""
    _write_mme(tmp_path)
    task = Mme()
    found = task.samples(tmp_path, "test")
    assert len(found) == 14 * 4
    predicted = ["Yes, it is.", "no"] * 14 + ["yes", "yes"] * 14
    measured = _measured(task, predicted, found)
    assert measured["mme_existence"] == 125
    assert measured["mme_perception"] == 1250
    assert measured["mme_cognition"] == 500
    assert set(measured) == set(task.metrics)
    perfect = _measured(task, ["yes", "no", "yes", "no"] * 14, found)
    assert (perfect["mme_perception"], perfect["mme_cognition"]) == (2000, 800)
    assert "mme_cognition" not in _measured(task, predicted[:4], found.take(range(4)))
    three = found.take(range(3))
    whole = _measured(task, predicted[:2], found.take(range(2)))
    assert _measured(task, predicted[:3], three) == whole, "the third lacks its sibling"
    official = ["none of them", "not sure", "The answer is yes", "There is no c in it."]
    assert task.scores(official, found.take([1, 1, 0, 1])) == [1.0, 1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match=r"no samples of split 'train'.*multitask"):
        task.samples(tmp_path, "train")
    assert len(set(found.group[:28])) == 14, "the first questions are of all subtasks"
    assert found.media_id[:28:2] == found.media_id[1:28:2], "and both about an image"


def _write_mmbench(
    root: Path, table: str = "mmbench_dev_20230712", picture: bytes = b"a jpeg"
) -> None:
    image = base64.b64encode(picture).decode()
    shared = {"hint": "", "l2-category": "coarse_perception", "question": 'what is "it"?'}
    rows = [
        {**shared, "index": 7, "A": "a cat", "B": "a dog", "answer": "A", "image": image},
        {**shared, "index": 1000007, "A": "a dog", "B": "a cat", "answer": "B", "image": 7},
        {**shared, "index": 8, "A": "red", "B": "blue", "answer": "B", "image": image},
    ]
    folder = root / "MMBench"
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / f"{table}.tsv", sep="\t", index=False)


def test_mmbench_counts_a_question_if_all_rotations_are_right(tmp_path: Path) -> None:
    _write_mmbench(tmp_path)
    task = MmBench()
    found = task.samples(tmp_path, "test")
    assert found["question"][0] == 'what is "it"?\nA. a cat\nB. a dog'
    assert found.media_id[0] == found.media_id[1]
    assert (tmp_path / found.media_id[0]).read_bytes() == b"a jpeg"
    assert set(found.group) == {"mmbench_coarse_perception"} <= set(task.groups)
    always_a = ["A", "A", "A"]
    assert task.scores(always_a, found) == [1.0, 0.0, 0.0]
    assert _measured(task, always_a, found) == {"mmbench_circular": 0.0}
    assert _measured(task, ["A", "B", "A"], found) == {"mmbench_circular": 50.0}
    assert _measured(task, ["A"], found.take([0])) == {}, "of its rotations one was not asked"
    assert _measured(task, ["A", "A"], found.take([0, 2])) == {"mmbench_circular": 0.0}


def test_tables_of_mmbench_have_pictures_of_their_own(tmp_path: Path) -> None:
    """They share numbers of questions."""
    for table in ("mmbench_dev_20230712", "mmbench_dev_en_20231003"):
        _write_mmbench(tmp_path, table, b"a picture that was published before")
        MmBench(table=f"{table}.tsv").samples(tmp_path, "test")
        _write_mmbench(tmp_path, table, table.encode())
        found = MmBench(table=f"{table}.tsv").samples(tmp_path, "test")
        assert (tmp_path / found.media_id[0]).read_bytes() == table.encode()


def _measured(task: Task, predicted: Sequence[str], found: Samples) -> dict[str, float]:
    return task.measure(predicted, found, task.scores(predicted, found))


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"),
        ("b .", "B"),
        ("(B)", "B"),
        ("B. a dog", "B"),
        ("The answer is B.", "B"),
        ("It is a dog", "B"),
        ("A or B", None),
        ("A", "A"),
        ("A is right", "A"),
        ("The answer is A", "A"),
        ("A dog lies on it", "B"),
        ("A dog or a cow, B", None),
        ("a dog, so B", "B"),
        ("I do not know", None),
        ("D", None),
    ],
)
def test_the_letter_is_read_from_the_text(text: str, letter: str | None) -> None:
    assert chosen_option(text, "A. a cat\nB. a dog\nC. a cow") == letter


@pytest.mark.parametrize(
    ("text", "options", "letter"),
    [
        ("Both A and C", "A. x1\nB. Both A and C\nC. x2", "B"),
        ("Both A and B.", "A. x1\nB. x2\nC. both a and b", "C"),
        ("Block A hits block B", "A. block A hits block B\nB. neither", "A"),
        ("A. x1 B. x2 C. x3", "A. x1\nB. x2\nC. x3", None),
        ("A. cat, B. dog", "A. cat\nB. dog", None),
        ("A", "A. B\nB. A", "A"),
        ("", "A. cat\nB. ?", None),
        ("I see a cat", "A. cat\nB. ?", "A"),
        ("C. vitamin A", "A. iron\nB. zinc\nC. vitamin A", "C"),
        ("20 C.", "A. 10 C\nB. 20 C\nC. 30 C", "B"),
        ("25 C", "A. 10 C\nB. 20 C\nC. 30 C", "C"),
        ("C", "A. CO2\nB. C\nC. H2", "C"),
    ],
)
def test_letters_within_the_words_of_options_choose_nothing(
    text: str, options: str, letter: str | None
) -> None:
    """The cases in which a letter alone would be wrong, by the published extraction."""
    assert chosen_option(text, options) == letter


def test_questions_that_are_asked_again_are_further_wholes(tmp_path: Path) -> None:
    """An emulation asks some questions several times: one pass all right and one half right."""
    _write_mmbench(tmp_path)
    task = MmBench()
    found = task.samples(tmp_path, "test")
    twice = found.take([0, 1, 2, 0, 1, 2])
    answers = ["A", "B", "B", "A", "A", "B"]
    assert _measured(task, answers, twice) == {"mmbench_circular": 75.0}
    assert _measured(task, answers[:4], found.take([0, 1, 2, 0])) == {"mmbench_circular": 100.0}


def test_captions_of_one_image_are_conversations_of_their_own() -> None:
    task = Clevr()
    asked = [("what color ?", "red"), ("describe", "a"), ("describe", "b"), ("describe", "c")]
    examples = [Example(str(i), "one.png", *pair, "query_color") for i, pair in enumerate(asked)]
    groups = task._grouped(examples)
    assert [[own.answer for own in group] for group in groups] == [["red", "a"], ["b"], ["c"]]


def test_llavas_conversations_stay_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A first text of gpt is dropped, as LLaVA does; what is no conversation is left out."""
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A cat."},
        {"from": "human", "value": "Its colour?"},
        {"from": "gpt", "value": "Black."},
    ]
    rows = [
        {"id": "1", "image": "coco/1.jpg", "conversations": turns},
        {"id": "2", "conversations": turns[2:]},
    ]
    file = write(tmp_path / "LLaVA" / "llava_v1_5_mix665k.json", rows)
    found = Llava(turns=1).samples(tmp_path, "tuning")
    told = json.loads(found["conversation"][0])
    assert told == [["What is it?", "A cat."], ["Its colour?", "Black."]]
    assert found.media_id == ("LLaVA/images/coco/1.jpg",)
    assert Llava().samples(tmp_path, "val").media_id == ("text:llava/2",)
    assert not caplog.records
    wrong = [
        {"id": "3", "conversations": turns[::2]},
        {"id": "4", "conversations": turns[:3]},
        {"id": "5", "conversations": []},
    ]
    write(file, [{"id": "6", "conversations": turns[1:]}, *rows, *wrong])
    with caplog.at_level(logging.WARNING):
        found = Llava().samples(tmp_path, "tuning")
        Llava().samples(tmp_path, "val")
    assert found.sample_id == ("1", "6")
    assert json.loads(found["conversation"][1]) == told[1:]
    (warning,) = caplog.messages
    assert "3 conversations are left out" in warning and "the first is 3" in warning
    write(file, [{"id": "7"}])
    with pytest.raises(ValueError, match="lacks the field 'conversations'"):
        Llava().samples(tmp_path, "tuning")


def test_mmvet_has_a_file_for_the_judge_and_no_score(tmp_path: Path) -> None:
    row = {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1", "capability": ["ocr"]}
    write(tmp_path / "mm-vet" / "mm-vet.json", {"v1_0": row})
    task = MmVet()
    found = task.samples(tmp_path, "test")
    assert found.media_id == ("mm-vet/images/v1_0.png",)
    assert all(map(math.isnan, task.scores(["x is -1"], found)))
    assert task.submission(["x is -1"], found) == {"v1_0": "x is -1"}
