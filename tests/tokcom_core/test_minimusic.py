"""The miniature world: reproducible, true to its own scenes, fair in its coverage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tokcom_core.datasets.annotations import fill, read_music_avqa, read_valor
from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR, annotation_file, video_file
from tokcom_core.datasets.minimusic.language import TEMPLATES, ask, caption
from tokcom_core.datasets.minimusic.scene import Scene, Source, sample_scene
from tokcom_core.datasets.minimusic.write import SHARES, plan_clips, write_minimusic
from tokcom_core.zoo.minimusic.readout import coverage, readout

VIOLIN = Source(7, row=2, column=0, beat=1, loudness=2)
CELLO = Source(1, row=0, column=2)
FLUTE = Source(3, beat=4, loudness=0)
SCENE = Scene((VIOLIN, CELLO, FLUTE))


def test_a_caption_tells_everything() -> None:
    clauses = caption(SCENE, np.random.default_rng(0)).removesuffix(" .").split(" , ")
    assert sorted(clauses) == [
        "loud violin left front plays first",
        "quiet flute offscreen plays second",
        "silent cello right back",
    ]


def test_answers_are_true() -> None:
    """Every question that this scene allows has the answer that its picture and sound give."""
    allowed = {
        "How many musical instruments were heard throughout the video?": {"two"},
        "Is the violin louder than the flute?": {"yes"},
        "Is the flute louder than the violin?": {"no"},
        "How many types of musical instruments appeared in the entire video?": {"two"},
        "Where is the violin?": {"left"},
        "Where is the cello?": {"right"},
        "In which row is the violin?": {"front"},
        "In which row is the cello?": {"back"},
        "Is this sound from the instrument in the video?": {"no"},
        "How many instruments are sounding in the video?": {"one"},
        "How many instruments in the video did not sound from beginning to end?": {"one"},
        "Where is the loudest instrument?": {"left"},
        "Is the instrument on the left louder than the instrument on the right?": {"yes"},
        "Is the instrument on the right louder than the instrument on the left?": {"no"},
        "Where is the first sounding instrument?": {"left"},
        "What is the first instrument that comes in?": {"violin"},
        "What is the second instrument that comes in?": {"flute"},
        "Is there a flute in the entire video?": {"no"},
        "Is there a flute sound?": {"yes"},
        "Is there a cello sound?": {"no"},
        "Is there a cello in the entire video?": {"yes"},
    }
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(300):
        for question in ask(SCENE, len(TEMPLATES), rng):
            text = fill(question.content, list(question.values))
            if text in allowed:
                assert {question.answer} == allowed[text], text
                seen.add(text)
    assert seen == set(allowed)


def test_scenes_keep_their_promises() -> None:
    rng = np.random.default_rng(1)
    for scene in (sample_scene(rng) for _ in range(300)):
        assert 2 <= len(scene.visible) <= 3
        assert len({s.instrument for s in scene.sources}) == len(scene.sources)
        assert len({(s.row, s.column) for s in scene.visible}) == len(scene.visible)
        assert len({s.beat for s in scene.sounding}) == len(scene.sounding)
        assert all(s.visible_until - s.visible_from >= 7 for s in scene.visible)
        assert all(s.visible or s.sounding for s in scene.sources)


def test_same_seed_same_files_and_other_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_minimusic(tmp_path / name, 25, seed, workers=2)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 25 + 2 + 6  # clips, desc_train of VALOR, its mark, and three splits twice
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    video = video_file(Path(VALOR), "00000000")
    assert (tmp_path / "a" / video).read_bytes() != (tmp_path / "c" / video).read_bytes()


def test_another_data_set_is_not_mixed_in(minimusic: Path) -> None:
    with pytest.raises(ValueError, match="another MiniMUSIC"):
        write_minimusic(minimusic, 61, 5)
    with pytest.raises(ValueError, match="take 12"):
        plan_clips(11, 0)


def test_real_data_are_not_written_over(tmp_path: Path) -> None:
    """They have the same layout and no mark."""
    real = annotation_file(tmp_path / MUSIC_AVQA, "avqa", "test")
    real.parent.mkdir(parents=True)
    real.write_text("real")
    with pytest.raises(ValueError, match=r"has MUSIC-AVQA already, .* choose another folder"):
        write_minimusic(tmp_path, 12, 1, workers=1)
    assert real.read_text() == "real"
    assert [file.name for file in tmp_path.iterdir()] == [MUSIC_AVQA]


def test_no_clip_is_in_two_splits_and_captions_match(minimusic: Path) -> None:
    plans = plan_clips(60, 5)
    assert len({p.video_id for p in plans}) == 60
    for own in (plans, plan_clips(12, 0)):
        assert {(p.dataset, p.split) for p in own} == set(SHARES)
    for split in ("train", "val", "test"):
        questions = read_music_avqa(annotation_file(minimusic / MUSIC_AVQA, "avqa", split))
        captions = read_valor(annotation_file(minimusic / MUSIC_AVQA, "desc", split))
        own = {p.video_id for p in plans if (p.dataset, p.split) == (MUSIC_AVQA, split)}
        assert {q.video_id for q in questions} == own == set(captions)


def test_more_tokens_never_cover_less() -> None:
    """The grids do not alias with the usual token lengths."""
    rows = coverage()
    for name in ("places", "appearances", "beats"):
        values = [getattr(row, name) for row in rows]
        assert values == sorted(values), name
        assert values[0] < 0.3
        assert values[-1] == 1.0


def test_attributes_are_read_from_tokens_as_far_as_they_are_covered(minimusic: Path) -> None:
    shares = readout(minimusic, (2, 48))
    assert set(shares) == {"row", "column", "loudness", "order"}
    for few, many in shares.values():
        assert few < 0.6
        assert many > 0.9
