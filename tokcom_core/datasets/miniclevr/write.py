"""Writes a MiniCLEVR data set in the layouts of CLEVR, COCO's captions, SST-2 and IMDB.

::

    DIR/CLEVR_v1.0/images/{train,val}/CLEVR_train_000000.png
    DIR/CLEVR_v1.0/questions/CLEVR_{train,val}_questions.json
    DIR/CLEVR_v1.0/scenes/CLEVR_{train,val}_scenes.json
    DIR/captions/captions_{train,val}.json
    DIR/SST-2/{train,dev}.tsv
    DIR/aclImdb/{train,test}/{pos,neg}/0_10.txt
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...storage import atomic_file
from ..data import MIN_IMAGES, MiniClevr
from ..mark import claim_folder
from ..parallel import make_missing
from .language import TYPES, Question, ask
from .render import write_image
from .reviews import long_review, review
from .scene import (
    ATTRIBUTES,
    CELL_PIXELS,
    IMAGE_PIXELS,
    RELATIONS,
    Scene,
    Solid,
    caption,
    sample_scene,
)

SHARES = {"train": 0.85, "val": 0.15}
"""Share of the images in each published split; no image is in both."""
REVIEWS_PER_IMAGE = 2

_REVIEW_SPLITS = {"train": ("train", "train"), "val": ("dev", "test")}
"""SST-2's and IMDB's names of the splits."""
_IMDB_FOLDERS = (("neg", 1), ("pos", 10))
"""IMDB's folder of each label, and the stars in its files' names."""


@dataclass(frozen=True)
class ImagePlan:
    """One image: all of it follows from the seed, the split and the index within it."""

    split: str
    index: int
    seed: int
    jpeg_quality: int | None = None

    @property
    def filename(self) -> str:
        kind = "png" if self.jpeg_quality is None else "jpg"
        return f"CLEVR_{self.split}_{self.index:06d}.{kind}"

    def file(self, root: Path) -> Path:
        return root / "CLEVR_v1.0" / "images" / self.split / self.filename

    def rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng(
            [self.seed, list(SHARES).index(self.split), self.index, purpose]
        )

    @cached_property
    def scene(self) -> Scene:
        return sample_scene(self.rng(0))

    def questions(self) -> list[Question]:
        return ask(self.scene, TYPES, self.rng(2))


def plan_images(images: int, seed: int, jpeg_quality: int | None = None) -> list[ImagePlan]:
    """Assigns ``images`` images to the published splits.

    Raises:
        ValueError: for fewer than 25 images, which may be too few to fill every split.
    """
    if images < MIN_IMAGES:
        raise ValueError(
            f"{images} images are too few to fill every split; take {MIN_IMAGES} or more"
        )
    held_out = round(SHARES["val"] * images)
    counts = {"train": images - held_out, "val": held_out}
    return [
        ImagePlan(split, index, seed, jpeg_quality)
        for split, count in counts.items()
        for index in range(count)
    ]


def write_miniclevr(
    root: Path,
    data: MiniClevr,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[ImagePlan]:
    """Writes the data set to ``root``; images that are there already are kept.

    Args:
        root: Folder of the data set.
        data: What is in it.
        workers: Number of processes that draw; by default, one for each CPU.
        progress: Called with the number of images that are already there, then with 1 for each
            image written.

    Raises:
        ValueError: if ``root`` holds another MiniCLEVR, or other data in its folders.
        StorageError: for a full disk; what is already written stays.
    """
    plans = plan_images(data.images, data.seed, data.jpeg_quality)
    claim_folder(root, "MiniCLEVR", data.model_dump(exclude_none=True), data.FOLDERS)
    for split in SHARES:
        split_plans = [plan for plan in plans if plan.split == split]
        for file, content in _annotations(root, split, split_plans, data.seed).items():
            if not file.exists():  # the questions of 4,000 images take ten seconds
                _write(file, content())
        reviews = len(split_plans) if data.reviews is None else round(SHARES[split] * data.reviews)
        _write_long_reviews(root / "aclImdb", split, reviews, data.seed)
    make_missing(_render, root, {plan.file(root): plan for plan in plans}, workers, progress)
    return plans


def _render(job: tuple[Path, ImagePlan]) -> None:
    root, plan = job
    write_image(plan.file(root), plan.scene, plan.rng(1), plan.jpeg_quality)


def _annotations(
    root: Path, split: str, plans: list[ImagePlan], seed: int
) -> dict[Path, Callable[[], str]]:
    """The annotation files of a split, and the functions that make their contents."""
    clevr, reviews = root / "CLEVR_v1.0", f"{_REVIEW_SPLITS[split][0]}.tsv"
    return {
        clevr / "questions" / f"CLEVR_{split}_questions.json": lambda: _clevr(
            split, "questions", _questions(plans)
        ),
        clevr / "scenes" / f"CLEVR_{split}_scenes.json": lambda: _clevr(
            split, "scenes", _scenes(plans)
        ),
        root / "captions" / f"captions_{split}.json": lambda: _captions(plans),
        root / "SST-2" / reviews: lambda: _reviews(split, REVIEWS_PER_IMAGE * len(plans), seed),
    }


def _clevr(split: str, name: str, rows: list[dict[str, Any]]) -> str:
    info = {"split": split, "version": "1.0", "license": "MIT"}
    return json.dumps({"info": info, name: rows})


def _questions(plans: list[ImagePlan]) -> list[dict[str, Any]]:
    rows = [
        {
            **_image_keys(plan),
            "question": question.text,
            "answer": question.answer,
            "program": question.program,
            "question_family_index": question.family,
        }
        for plan in plans
        for question in plan.questions()
    ]
    return [{**row, "question_index": i} for i, row in enumerate(rows)]


def _scenes(plans: list[ImagePlan]) -> list[dict[str, Any]]:
    return [{**_image_keys(plan), **_scene_keys(plan.scene)} for plan in plans]


def _image_keys(plan: ImagePlan) -> dict[str, Any]:
    return {"image_index": plan.index, "image_filename": plan.filename, "split": plan.split}


def _scene_keys(scene: Scene) -> dict[str, Any]:
    """A scene in CLEVR's keys; a relation lists, for each object, the others that stand in it."""
    directions = {"left": (-1, 0), "right": (1, 0), "front": (0, 1), "behind": (0, -1)}
    every = range(len(scene.solids))
    return {
        "objects": [_object_keys(solid) for solid in scene.solids],
        "relationships": {r: [list(scene.related(r, i)) for i in every] for r in RELATIONS},
        "directions": {r: [float(x), float(y), 0.0] for r, (x, y) in directions.items()},
    }


def _object_keys(solid: Solid) -> dict[str, Any]:
    """A solid in CLEVR's keys.

    The scene is flat. 3-D coordinates are in cells: x and y from the picture's middle, and the
    radius as height. The depth of the pixel coordinates is 0.
    """
    x, y = ((p - IMAGE_PIXELS / 2) / CELL_PIXELS for p in (solid.x_pixels, solid.y_pixels))
    return {
        **{attribute: solid.value(attribute) for attribute in ATTRIBUTES},
        "pixel_coords": [solid.x_pixels, solid.y_pixels, 0.0],
        "3d_coords": [x, y, solid.radius_pixels / CELL_PIXELS],
        "rotation": 0.0,
    }


def _captions(plans: list[ImagePlan]) -> str:
    """One caption per image, in the format of COCO's ``captions_val2017.json``."""
    size = {"height": IMAGE_PIXELS, "width": IMAGE_PIXELS}
    images = [{"id": plan.index, "file_name": plan.filename, **size} for plan in plans]
    annotations = [
        {"id": plan.index, "image_id": plan.index, "caption": caption(plan.scene)} for plan in plans
    ]
    return json.dumps(
        {"info": {"description": "MiniCLEVR"}, "images": images, "annotations": annotations}
    )


def _reviews(split: str, count: int, seed: int) -> str:
    """Reviews in the format of GLUE's ``SST-2``."""
    rng = np.random.default_rng([seed, list(SHARES).index(split)])
    rows = ["{}\t{}".format(*review(rng)) for _ in range(count)]
    return "\n".join(["sentence\tlabel", *rows, ""])


def _write_long_reviews(folder: Path, split: str, count: int, seed: int) -> None:
    """Writes reviews in the layout of IMDB, each in a file of its own.

    IMDB has both labels in every split, so the last review has another one if all others agree.
    """
    rng = np.random.default_rng([seed, list(SHARES).index(split), 1])
    reviews = [long_review(rng) for _ in range(count)]
    while count > 1 and len({label for _, label in reviews}) == 1:
        reviews[-1] = long_review(rng)
    for number, (text, label) in enumerate(reviews):
        kind, stars = _IMDB_FOLDERS[label]
        file = folder / _REVIEW_SPLITS[split][1] / kind / f"{number}_{stars}.txt"
        if not file.exists():
            _write(file, text)


def _write(file: Path, content: str) -> None:
    with atomic_file(file) as partial:
        partial.write_text(content)
