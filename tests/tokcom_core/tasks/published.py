"""Writes small data sets in their published formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write(file: Path, content: Any) -> Path:
    """Writes text as it is, anything else as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def write_clevr(root: Path, captions: bool = False, images: int = 3) -> None:
    for split in ("train", "val"):
        names = [f"CLEVR_{split}_{i:06d}.png" for i in range(images)]
        programs = [("query_color", "what color ?", "red"), ("less_than", "fewer ?", "yes")]
        questions = [
            {
                "image_filename": name,
                "question": text,
                "answer": answer,
                "program": [
                    {"function": "scene", "inputs": [], "value_inputs": []},
                    {"function": function, "inputs": [0], "value_inputs": []},
                ],
                "question_index": 2 * i + j,
            }
            for i, name in enumerate(names)
            for j, (function, text, answer) in enumerate(programs)
        ]
        solids = [
            {"size": "small", "color": c, "material": "metal", "shape": "cube", "pixel_coords": p}
            for c, p in (("red", [80, 40, 9.0]), ("blue", [20, 60, 8.0]))
        ]
        scenes = [{"image_filename": name, "objects": solids} for name in names]
        folder = root / "CLEVR_v1.0"
        write(folder / "questions" / f"CLEVR_{split}_questions.json", {"questions": questions})
        write(folder / "scenes" / f"CLEVR_{split}_scenes.json", {"scenes": scenes})
        if captions:
            write_captions(root, split, {name: ["a red cube"] for name in names})


def write_captions(root: Path, split: str, captions: dict[str, list[str]]) -> None:
    images = [{"id": i, "file_name": name} for i, name in enumerate(captions)]
    annotations = [
        {"id": 9, "image_id": i, "caption": c}
        for i, own in enumerate(captions.values())
        for c in own
    ]
    content = {"images": images, "annotations": annotations}
    write(root / "captions" / f"captions_{split}.json", content)


def write_sst2(root: Path, rows: int = 4) -> None:
    reviews = [f'a "{"fine" if i % 2 else "dull"}" film {i}\t{i % 2}' for i in range(rows)]
    for split in ("train", "dev"):
        write(root / "SST-2" / f"{split}.tsv", "\n".join(["sentence\tlabel", *reviews, ""]))


def write_vqav2(root: Path, split: str, images: list[int]) -> None:
    """A question about each image; of ten people, eight say red and two dark red."""
    answers = [{"answer": "red", "answer_id": i} for i in range(8)] + [
        {"answer": "dark red", "answer_id": i} for i in (8, 9)
    ]
    asked = [{"question_id": 10 * i, "image_id": i, "question": "What color?"} for i in images]
    said = [
        {
            "question_id": 10 * i,
            "image_id": i,
            "answer_type": "other",
            "question_type": "what color",
            "multiple_choice_answer": "red",
            "answers": answers,
        }
        for i in images
    ]
    folder = root / "VQAv2"
    name = f"mscoco_{split}2014"
    write(folder / f"v2_OpenEnded_{name}_questions.json", {"questions": asked})
    write(folder / f"v2_{name}_annotations.json", {"annotations": said})
