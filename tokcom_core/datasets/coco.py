"""Captions of images in COCO's format: ``{"images": [...], "annotations": [...]}``."""

from __future__ import annotations

from pathlib import Path

from .tables import entries, read_objects


def read_captions(file: Path) -> dict[str, list[str]]:
    """The captions of each image, by its file name.

    Raises:
        ValueError: for a file that is missing or damaged, or a caption of an unknown image.
    """
    with entries(file):
        names = {row["id"]: str(row["file_name"]) for row in read_objects(file, "images")}
        captions: dict[str, list[str]] = {name: [] for name in names.values()}
        for row in read_objects(file, "annotations"):
            if row["image_id"] not in names:
                raise ValueError(f"{file}: caption {row['id']} is of no image of the file")
            captions[names[row["image_id"]]].append(str(row["caption"]).strip())
    return captions
