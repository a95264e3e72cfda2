"""Annotations: the real files where they are at hand, MiniMUSIC's always."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from tokcom_core.datasets.annotations import QUESTION_TYPES, fill, read_music_avqa, read_valor
from tokcom_core.datasets.layout import MUSIC_AVQA, annotation_file
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Avqa

REAL = Path(os.environ.get("TOKCOM_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="no real annotations; set TOKCOM_REAL_DATA to their folder"
)


def test_placeholders_are_filled_in_order() -> None:
    template = "Is the <Object> on the <LR> louder than the <Object> on the <LR>?"
    filled = fill(template, ["electric_bass", "left", "piano", "right"])
    assert filled == "Is the electric bass on the left louder than the piano on the right?"
    with pytest.raises(ValueError, match="4 placeholders, but 1 values"):
        fill(template, ["piano"])


def test_captions_of_asked_clips_are_part_of_the_data(tmp_path: Path) -> None:
    """The text oracle reads them, and the store of texts has them."""
    task = Avqa()
    for file in task.annotation_files(tmp_path):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[]")
    found = [task.identity(tmp_path)]
    captions = annotation_file(tmp_path / MUSIC_AVQA, "desc", "test")
    for content in ("[]", '[{"video_id": "a", "desc": "a drum"}]'):
        captions.write_text(content)
        found.append(task.identity(tmp_path))
    assert len(set(found)) == 3


def test_ids_are_made_unique_among_samples_about_the_same_media() -> None:
    columns = {"sample_id": ("7", "7", "7", "7-2", "7"), "media_id": ("a", "a", "b", "a", "a")}
    samples = Samples({**columns, "group": ("",) * 5, "answer": ("",) * 5})
    assert samples.repeated_ids == 1
    unique = samples.with_unique_ids()
    assert unique.repeated_ids == 0
    assert unique.sample_id[:3] == ("7", "7-2", "7")
    assert unique.with_unique_ids() == unique
    assert unique.published_ids == samples.sample_id == samples.published_ids


def test_ids_of_many_repeated_questions_are_counted_on() -> None:
    count = 3000
    columns = {"sample_id": ("7",) * count, "media_id": ("a",) * count}
    samples = Samples({**columns, "group": ("",) * count, "answer": ("",) * count})
    assert samples.with_unique_ids().sample_id[-1] == f"7-{count}"


def test_a_text_that_cannot_be_written_is_of_a_sample(tmp_path: Path) -> None:
    """JSON may hold half of a character."""
    broken = json.loads('"a \\ud83d"')
    columns = {"sample_id": ("7", "8"), "media_id": ("a", "b"), "group": ("", "")}
    with pytest.raises(ValueError, match=r"sample '8' about 'b' has a text with half a character"):
        Samples({**columns, "answer": ("yes", broken)}).write(tmp_path / "samples.parquet")


@needs_real_data
def test_every_real_question_is_read() -> None:
    questions = [
        question
        for split in ("val", "test")
        for question in read_music_avqa(annotation_file(REAL / MUSIC_AVQA, "avqa", split))
    ]
    assert len(questions) == 13_780
    assert Counter(q.type for q in questions).keys() == set(QUESTION_TYPES)
    assert not [q for q in questions if "<" in q.text or ">" in q.text]
    assert len({q.answer for q in questions}) == 41  # of the whole set's 42
    assert "acoustic guitar" in {q.answer for q in questions}


@needs_real_data
def test_real_captions_are_read() -> None:
    captions = read_valor(REAL / "VALOR" / "annotation" / "desc_val.json")
    assert len(captions) == 3500
    assert all(captions.values())


def test_minimusic_has_all_nine_types_in_the_same_schema(minimusic: Path) -> None:
    file = annotation_file(minimusic / MUSIC_AVQA, "avqa", "train")
    questions = read_music_avqa(file)
    assert {q.type for q in questions} == set(QUESTION_TYPES)
    raw = json.loads(file.read_text())[0]
    assert set(raw) == {
        "video_id",
        "question_id",
        "type",
        "question_content",
        "templ_values",
        "question_deleted",
        "anser",
    }
    assert len({q.question_id for q in questions}) == len(questions)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "is not JSON"),
        ("{}", "a JSON list"),
        ('[{"video_id": "1"}]', "type"),
        (
            '[{"video_id": "1", "question_id": 1, "type": "x", "question_content": "a",'
            ' "templ_values": "[]", "anser": "yes"}]',
            "question 1",
        ),
        (
            '[{"video_id": "1", "question_id": 1, "type": "[\\"Visual\\", \\"Colour\\"]",'
            ' "question_content": "a", "templ_values": "[]", "anser": "yes"}]',
            r"question 1: .*Colour.* is not one of",
        ),
    ],
)
def test_damaged_annotations_are_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "avqa-test.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=message):
        read_music_avqa(file)
    with pytest.raises(ValueError, match="no annotation file"):
        read_valor(tmp_path / "missing.json")


def test_a_clip_has_one_caption_and_zero_deletes_no_question(tmp_path: Path) -> None:
    row = {"video_id": "1", "question_id": 1, "type": '["Visual", "Counting"]', "anser": "two"}
    row |= {"question_content": "how many?", "templ_values": "[]"}
    (questions := tmp_path / "avqa.json").write_text(
        json.dumps([{**row, "question_deleted": "0"}, {**row, "question_deleted": "1"}])
    )
    assert len(read_music_avqa(questions)) == 1
    captions = [{"video_id": "1", "desc": "one"}, {"video_id": "1", "desc": "two"}]
    (repeated := tmp_path / "desc.json").write_text(json.dumps(captions))
    with pytest.raises(ValueError, match="clip 1 has 2 captions; keep one"):
        read_valor(repeated)
