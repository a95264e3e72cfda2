"""The miniature world of pictures: reproducible, true to its scenes, not to be guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tokcom_core.datasets.data import Data, MiniClevr
from tokcom_core.datasets.miniclevr.language import ANSWERS, FAMILIES, TYPES, ask
from tokcom_core.datasets.miniclevr.programs import run
from tokcom_core.datasets.miniclevr.render import draw
from tokcom_core.datasets.miniclevr.report import answer_report
from tokcom_core.datasets.miniclevr.reviews import (
    ADJECTIVES,
    SENTENCES,
    SENTIMENTS,
    long_review,
    review,
)
from tokcom_core.datasets.miniclevr.scene import (
    RELATIONS,
    Scene,
    Solid,
    caption,
    sample_scene,
)
from tokcom_core.datasets.miniclevr.write import plan_images, write_miniclevr
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.reviews import Imdb

CUBE = Solid((1, 1, 1, 0), 24, 12)  # large red metal, column 2 of row 1
SPHERE = Solid((0, 2, 0, 1), 8, 40)  # small blue rubber, column 1 of row 3
BAR = Solid((0, 1, 0, 2), 88, 40)  # small red rubber, column 6 of row 3
SCENE = Scene((CUBE, SPHERE, BAR))


def test_a_caption_tells_everything_in_reading_order() -> None:
    assert caption(SCENE) == (
        "large red metal cube at x2 y1 , small blue rubber sphere at x1 y3 , "
        "small red rubber cylinder at x6 y3 ."
    )


def test_answers_are_true() -> None:
    """Questions that this scene allows have the answers that its picture gives."""
    expected = {
        "is there a red cube ?": "yes",
        "is there a large rubber thing ?": "no",
        "how many red things are there ?": "2",
        "how many things are there ?": "3",
        "are there fewer blue things than red things ?": "yes",
        "are there more blue things than red things ?": "no",
        "what size is the metal thing ?": "large",
        "what color is the cylinder ?": "red",
        "what material is the blue thing ?": "rubber",
        "what shape is the small red thing ?": "cylinder",
        "does the cube have the same color as the cylinder ?": "yes",
        "is there a cylinder left of the cube ?": "no",
        "is there a cube behind the sphere ?": "yes",
        "how many small things are in front of the cube ?": "2",
        "how many things are right of the sphere ?": "2",
    }
    rng = np.random.default_rng(0)
    seen = {}
    for _ in range(400):
        for question in ask(SCENE, (*TYPES, *["relation"] * 8), rng):
            seen[question.text] = question.answer
    assert {text: seen.get(text) for text in expected} == expected


def test_every_program_runs_to_the_answer_of_its_question() -> None:
    rng = np.random.default_rng(1)
    families = set()
    for scene in (sample_scene(rng) for _ in range(100)):
        for question in ask(scene, TYPES, rng):
            again = json.loads(json.dumps(question.program))
            assert run(again, scene) == question.answer
            assert question.answer in ANSWERS
            families.add(question.family)
    assert families == set(range(len(FAMILIES)))
    assert len(ANSWERS) == 28
    with pytest.raises(ValueError, match="no function 'same_size'"):
        run([{"function": "same_size", "inputs": [], "value_inputs": []}], SCENE)


def test_no_type_of_question_can_be_guessed() -> None:
    rows = answer_report(plan_images(500, 3))
    assert [row.type for row in rows] == list(TYPES)
    for row in rows:
        assert row.share < (0.56 if row.answers == 2 else 0.42), row


def test_scenes_keep_their_promises() -> None:
    rng = np.random.default_rng(1)
    for scene in (sample_scene(rng) for _ in range(200)):
        assert 3 <= len(scene.solids) <= 6
        places = [(s.row, s.column) for s in scene.solids]
        assert places == sorted(set(places))
        for solid in scene.solids:
            assert solid.radius_pixels < min(solid.x_pixels, solid.y_pixels)
        for one in range(len(scene.solids)):
            for relation, opposite in (RELATIONS[:2], RELATIONS[2:]):
                for other in scene.related(relation, one):
                    assert one in scene.related(opposite, other)


def test_the_material_is_gone_at_half_the_resolution() -> None:
    """Metal and rubber differ by tens of levels in pixels, and by rounding in means of 2 x 2."""
    pixels = []
    for material in (0, 1):
        solids = [
            Solid((s.values[0], s.values[1], material, s.values[3]), s.x_pixels, s.y_pixels)
            for s in SCENE.solids
        ]
        rng = np.random.default_rng(0)
        # the amplitude is drawn after a metal solid's noise: one solid, so that all else is equal
        pixels.append(draw(Scene((solids[0],)), rng).astype(float))
    rubber, metal = pixels
    assert np.abs(rubber - metal).max() >= 23
    halved = [p.reshape(48, 2, 48, 2, 3).mean((1, 3)) for p in pixels]
    assert np.abs(halved[0] - halved[1]).max() <= 0.5


def test_reviews_follow_their_grammar() -> None:
    """The last clause decides, 'not' turns it; both labels are equally frequent."""
    rng = np.random.default_rng(0)
    labels = []
    for sentence, label in (review(rng) for _ in range(400)):
        assert _judged(sentence) == label, sentence
        labels.append(label)
    assert 0.45 < np.mean(labels) < 0.55


def test_in_long_reviews_the_majority_decides() -> None:
    rng = np.random.default_rng(0)
    for text, label in (long_review(rng) for _ in range(200)):
        sentences = [f"{sentence.strip()} ." for sentence in text.split(".")[:-1]]
        assert len(sentences) == SENTENCES
        assert round(np.mean([_judged(sentence) for sentence in sentences])) == label, text


def _judged(sentence: str) -> int:
    clause = sentence.split(" but ")[-1].split(" and ")[-1].split()
    named = next(s for s in SENTIMENTS if clause[-2] in ADJECTIVES[s])
    return SENTIMENTS.index(named) ^ ("not" in clause)


def test_files_are_in_the_published_layouts(tmp_path: Path) -> None:
    write_miniclevr(tmp_path, MiniClevr(images=40), workers=1)
    for part, count in (("train", 34), ("test", 6)):
        assert len(list((tmp_path / "aclImdb" / part).glob("*/*.txt"))) == count
    folder = tmp_path / "CLEVR_v1.0"
    for split, count in (("train", 34), ("val", 6)):
        questions = json.loads((folder / f"questions/CLEVR_{split}_questions.json").read_text())
        scenes = json.loads((folder / f"scenes/CLEVR_{split}_scenes.json").read_text())["scenes"]
        captions = json.loads((tmp_path / f"captions/captions_{split}.json").read_text())
        assert len(scenes) == len(captions["images"]) == count
        assert questions["info"]["split"] == split
        for question in questions["questions"]:
            scene = scenes[question["image_index"]]
            assert scene["image_filename"] == question["image_filename"]
        for number, scene in enumerate(scenes):
            told = captions["annotations"][number]["caption"]
            assert all(
                f"{o['size']} {o['color']} {o['material']} {o['shape']} at" in told
                for o in scene["objects"]
            )
            with Image.open(folder / "images" / split / scene["image_filename"]) as image:
                assert image.size == (96, 96)
        assert scenes[0]["relationships"].keys() == set(RELATIONS)
    rows = (tmp_path / "SST-2" / "dev.tsv").read_text().splitlines()
    assert rows[0] == "sentence\tlabel"
    assert len(rows) == 13


def test_there_may_be_more_reviews_than_images(tmp_path: Path) -> None:
    """Those of fewer are the first of them."""
    for name, reviews in (("usual", None), ("many", 200)):
        write_miniclevr(tmp_path / name, MiniClevr(images=25, reviews=reviews), workers=1)
    usual, many = (
        {file.name: file.read_text() for file in (tmp_path / name / "aclImdb").rglob("train/*/*")}
        for name in ("usual", "many")
    )
    assert (len(usual), len(many)) == (21, 170)
    assert usual.items() <= many.items()
    assert MiniClevr(reviews=200).identity == "miniclevr-2000-1-reviews-200"


def test_imdb_has_both_labels_in_every_split(tmp_path: Path) -> None:
    """With this seed, the first reviews to test on are all positive; the last one is not."""
    write_miniclevr(tmp_path, MiniClevr(images=25, seed=9), workers=1)
    assert set(Imdb().samples(tmp_path, "test").answer) == set(SENTIMENTS)
    names = sorted(file.name for file in (tmp_path / "aclImdb" / "test").glob("*/*.txt"))
    assert names == ["0_10.txt", "1_10.txt", "2_10.txt", "3_1.txt"]


def test_same_seed_same_files_and_other_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_miniclevr(tmp_path / name, MiniClevr(images=25, seed=seed), workers=1)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    files = [file for file in files if (tmp_path / "a" / file).is_file()]
    assert len(files) == 25 + 8 + 1 + 25  # pictures, tables, the mark, long reviews
    for file in files:
        same = (tmp_path / "a" / file).read_bytes()
        assert same == (tmp_path / "b" / file).read_bytes()
        if file.parts[0] != "aclImdb":  # its files are named by the label
            assert same != (tmp_path / "c" / file).read_bytes()
    with pytest.raises(ValueError, match="another MiniCLEVR"):
        write_miniclevr(tmp_path / "a", MiniClevr(images=25, seed=2))
    with pytest.raises(ValueError, match="take 25"):
        plan_images(24, 0)


def test_real_data_are_not_mixed_in(tmp_path: Path) -> None:
    """They have the same layout and no mark. An interrupted MiniCLEVR has one, and goes on."""
    real, made = tmp_path / "real", tmp_path / "made"
    (real / "CLEVR_v1.0" / "images" / "val").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has CLEVR_v1\.0 already, .* choose another folder"):
        write_miniclevr(real, MiniClevr(images=25), workers=1)
    assert [file.name for file in real.iterdir()] == ["CLEVR_v1.0"]
    (first, *_) = write_miniclevr(made, MiniClevr(images=25), workers=1)
    first.file(made).unlink()
    write_miniclevr(made, MiniClevr(images=25), workers=1)
    assert first.file(made).is_file()


def _checkerboard(file: Path, solid: Solid) -> float:
    """Contrast of the middle of a solid between pixels of even and odd place."""
    luma = np.asarray(Image.open(file).convert("RGB"), float).mean(2)
    y, x = np.mgrid[: luma.shape[0], : luma.shape[1]]
    middle = np.maximum(abs(x - solid.x_pixels), abs(y - solid.y_pixels)) < 4
    return float(abs((luma * (1 - 2 * ((x + y) % 2)))[middle].mean()))


def test_images_may_be_jpeg(tmp_path: Path) -> None:
    """All else is the same. Files are small, and yet metal keeps its texture of single pixels."""
    worlds = {q: MiniClevr(images=25, jpeg_quality=q) for q in (None, 75)}
    plans = {q: write_miniclevr(tmp_path / str(q), own, 1) for q, own in worlds.items()}
    assert MiniClevr(jpeg_quality=75).identity == "miniclevr-2000-1-jpeg-75"
    samples = [Clevr().samples(tmp_path / str(quality), "train") for quality in plans]
    assert samples[0].answer == samples[1].answer
    assert {Path(name).suffix for name in samples[1].media_id} == {".jpg"}
    for png, jpeg in zip(plans[None], plans[75], strict=True):
        files = png.file(tmp_path / "None"), jpeg.file(tmp_path / "75")
        assert files[1].stat().st_size < files[0].stat().st_size / 5
        for solid in png.scene.solids:
            sharp, coded = (_checkerboard(file, solid) for file in files)
            assert coded == pytest.approx(sharp, abs=6)
            assert (coded > 10) == (solid.value("material") == "metal")
    with pytest.raises(ValueError, match="another MiniCLEVR"):
        write_miniclevr(tmp_path / "75", MiniClevr(images=25, jpeg_quality=90))


def test_a_study_names_one_source_of_data() -> None:
    made = Data.model_validate({"miniclevr": {"images": 30}}).made
    assert made is not None
    assert made.identity == "miniclevr-30-1"
    assert Data.model_validate({"folder": "."}).made is None
    for keys in ({}, {"miniclevr": {}, "minimusic": {}}, {"miniclevr": {}, "folder": "."}):
        with pytest.raises(ValueError, match="give one of 'minimusic', 'miniclevr', 'folder'"):
            Data.model_validate(keys)
