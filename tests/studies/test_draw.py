"""``tokcom draw``: a picture of a wish, a table of what is right, mistakes in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

WISH = "there is a large red cube . a small metal blue sphere . the cube is not metal ."
QUICK = ("--steps", "3")


def _pixels(file: Path) -> Any:
    return np.asarray(Image.open(file))


def test_a_wish_is_refined_and_drawn(tmp_path: Path, shown: Callable[..., str]) -> None:
    one, again, other = (tmp_path / f"{name}.png" for name in ("one", "again", "other"))
    said = shown("draw", WISH, "--out", one, *QUICK)
    assert "draft: " in said
    assert "prompt: " in said
    assert str(one) in said
    shown("draw", WISH, "--out", again, *QUICK)
    assert one.read_bytes() == again.read_bytes()
    shown("draw", WISH, "--out", other, "--seed", "1", *QUICK)
    assert (_pixels(one) != _pixels(other)).any()


def test_without_refinement_the_wish_is_the_prompt(
    tmp_path: Path, shown: Callable[..., str]
) -> None:
    said = shown("draw", "a giant red cube", "--out", tmp_path / "a.png", "--no-refine", *QUICK)
    assert "prompt: a giant red cube" in said
    assert "draft" not in said
    assert _pixels(tmp_path / "a.png").shape == (48, 48, 3)


def test_an_evaluation_is_a_table_and_an_interval(shown: Callable[..., str]) -> None:
    said = shown("draw", "--evaluate", "4", *QUICK)
    for word in ("chance", "wish", "draft", "refined", "caption", "refined - wish", "95 %"):
        assert word in said
    assert said == shown("draw", "--evaluate", "4", *QUICK)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "either a WISH in quotes or --evaluate N"),
        ([WISH, "--evaluate", "4"], "either a WISH in quotes or --evaluate N"),
        (["--evaluate", "4", "--no-refine"], "leave out --out and --no-refine"),
        (["--evaluate", "4", "--out", "a.png"], "leave out --out and --no-refine"),
        ([WISH, "--out", "a.jpg"], "writes PNG; let --out a.jpg end in .png"),
        ([WISH, "--guidance", "inf"], "a guidance of inf should be finite"),
        ([WISH, "--steps", "0"], "Invalid value for '--steps'"),
        (["--evaluate", "1"], "Invalid value for '--evaluate'"),
        (["a giant red ball"], "does not know 'giant', 'ball'"),
        ([WISH, "--diffusion", "./nowhere"], "it should hold a model_index.json"),
        ([WISH, "--language", "./nowhere"], "it should hold a config.json"),
    ],
)
def test_mistakes(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint in refused("draw", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_place_below_a_file_is_refused(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    said = refused("draw", WISH, "--out", file / "a.png", *QUICK)
    assert said.endswith("choose another place")


@pytest.mark.usefixtures("without_diffusers")
def test_a_missing_extra_is_named(tmp_path: Path, refused: Callable[..., str]) -> None:
    said = refused("draw", WISH, "--out", tmp_path / "a.png")
    assert said.endswith('pip install "tokcom[diffusion]"')
