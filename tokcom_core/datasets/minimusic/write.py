"""Writes a MiniMUSIC data set: clips as ``.mp4`` and the annotation files of both data sets.

::

    DIR/VALOR/annotation/desc_train.json        captions, for the alignment stage
    DIR/VALOR/video/*.mp4
    DIR/MUSIC-AVQA/annotation/avqa-{train,val,test}.json   questions, for the task stage
    DIR/MUSIC-AVQA/annotation/desc_{train,val,test}.json   their captions, for the text oracle
    DIR/MUSIC-AVQA/video/*.mp4
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...storage import atomic_file, writing
from ..data import MIN_CLIPS
from ..layout import MUSIC_AVQA, VALOR, annotation_file, video_file
from ..mark import claim_folder
from ..parallel import make_missing
from .language import ask, caption
from .render import draw_frames, play, write_clip
from .scene import Scene, sample_scene

SHARES = {
    (VALOR, "train"): 0.4,
    (MUSIC_AVQA, "train"): 0.4,
    (MUSIC_AVQA, "val"): 0.08,
    (MUSIC_AVQA, "test"): 0.12,
}
"""Share of the clips in each data set and split; no clip is in two of them."""
QUESTIONS_PER_CLIP = 6


@dataclass(frozen=True)
class ClipPlan:
    """One clip: all of it follows from the seed and the index."""

    dataset: str
    split: str
    index: int
    seed: int

    @property
    def video_id(self) -> str:
        return f"{self.index:08d}"

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.index, purpose])

    @cached_property
    def scene(self) -> Scene:
        return sample_scene(self.rng(0))


def plan_clips(clips: int, seed: int) -> list[ClipPlan]:
    """Assigns ``clips`` clips to data sets and splits.

    Raises:
        ValueError: for fewer than 12 clips, which may leave a split empty.
    """
    if clips < MIN_CLIPS:
        raise ValueError(f"{clips} clips are too few to fill every split; take {MIN_CLIPS} or more")
    edges = np.round(np.cumsum([0.0, *SHARES.values()]) * clips).astype(int)
    return [
        ClipPlan(dataset, split, index, seed)
        for (dataset, split), start, stop in zip(SHARES, edges[:-1], edges[1:], strict=True)
        for index in range(start, stop)
    ]


def write_minimusic(
    root: Path,
    clips: int,
    seed: int,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[ClipPlan]:
    """Writes the data set to ``root``; clips that are there already are kept.

    Raises:
        ValueError: if ``root`` holds a MiniMUSIC of another size or seed, or other data.
        StorageError: for a full disk; what is already written stays.
    """
    plans = plan_clips(clips, seed)
    folders = dict.fromkeys(dataset for dataset, _ in SHARES)
    claim_folder(root, "MiniMUSIC", {"clips": clips, "seed": seed}, folders)
    for dataset, split in SHARES:
        split_plans = [plan for plan in plans if (plan.dataset, plan.split) == (dataset, split)]
        _write_annotations(root, dataset, split, split_plans)
        video_file(root / dataset, "x").parent.mkdir(parents=True, exist_ok=True)
    files = {video_file(root / plan.dataset, plan.video_id): plan for plan in plans}
    make_missing(_render, root, files, workers, progress)
    return plans


def _render(job: tuple[Path, ClipPlan]) -> None:
    root, plan = job
    scene = plan.scene
    rng = plan.rng(1)
    file = video_file(root / plan.dataset, plan.video_id)
    with writing(file):
        write_clip(file, draw_frames(scene, rng), play(scene, rng))


def _write_annotations(root: Path, dataset: str, split: str, plans: list[ClipPlan]) -> None:
    captions = [{"video_id": p.video_id, "desc": caption(p.scene, p.rng(2))} for p in plans]
    _write_json(annotation_file(root / dataset, "desc", split), captions)
    if dataset != MUSIC_AVQA:
        return
    rows: list[dict[str, Any]] = []
    for plan in plans:
        questions = ask(plan.scene, QUESTIONS_PER_CLIP, plan.rng(3))
        for i, question in enumerate(questions):
            rows.append(
                {
                    "video_id": plan.video_id,
                    "question_id": plan.index * QUESTIONS_PER_CLIP + i,
                    "type": json.dumps(list(question.type)),
                    "question_content": question.content,
                    "templ_values": json.dumps(list(question.values)),
                    "question_deleted": 0,
                    "anser": question.answer,
                }
            )
    _write_json(annotation_file(root / dataset, "avqa", split), rows)


def _write_json(file: Path, content: Any) -> None:
    with atomic_file(file) as partial:
        partial.write_text(json.dumps(content))
