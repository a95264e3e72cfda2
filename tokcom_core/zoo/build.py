"""Builds the pocket zoo from scratch, and scores it."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoints import POCKET, POCKET_DRAWING, POCKET_IMAGES, pocket_folder
from ..datasets.data import MiniClevr
from ..datasets.media import prepare
from ..datasets.miniclevr.write import write_miniclevr
from ..datasets.minimusic.write import write_minimusic
from ..diffusion.pipeline import require_diffusers
from .miniclevr import encoders as tokenizers
from .miniclevr import language as miniclevr
from .minimusic import encoders
from .minimusic import language as minimusic
from .scores import SCORES, read_scores, write_scores

if TYPE_CHECKING:
    from .drawing.training import DrawingRecipe

logger = logging.getLogger(__name__)

SEED_OFFSET = 990_001
"""Keeps the media that encoders are pretrained on apart from those of any study."""


def build_minimusic(
    out: Path,
    seed: int,
    clips: int = 4000,
    language: minimusic.MiniMusicRecipe | None = None,
    encoder: encoders.EncoderRecipe | None = None,
) -> None:
    """Writes ``out/{vision,audio,language}`` and their scores.

    Args:
        out: Folder of the checkpoints.
        seed: Seed of all random draws.
        clips: Number of MiniMUSIC clips that the encoders are pretrained on.
        language: How the language model is made; by default, as the shipped one.
        encoder: How the encoders are made; by default, as the shipped ones.
    """
    recipe = encoder or encoders.EncoderRecipe()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        logger.info("writing %d clips", clips)
        plans = write_minimusic(root, clips, SEED_OFFSET + seed)
        prepare(root)
        scores = {
            "vision": encoders.pretrain_vision(root, plans, out / "vision", recipe, seed),
            "audio": encoders.pretrain_audio(root, plans, out / "audio", recipe, seed),
        }
    scores["language"] = minimusic.pretrain_language(
        out / "language", language or minimusic.MiniMusicRecipe(), seed
    )
    write_scores(out, scores)


def build_miniclevr(
    out: Path,
    seed: int,
    images: int = 6000,
    language: miniclevr.MiniClevrRecipe | None = None,
    clip: tokenizers.TokenizerRecipe = tokenizers.CLIP_RECIPE,
    convnext: tokenizers.TokenizerRecipe = tokenizers.CONVNEXT_RECIPE,
) -> None:
    """Writes ``out/{clip,convnext,language}`` and their scores.

    Args:
        out: Folder of the checkpoints.
        seed: Seed of all random draws.
        images: Number of MiniCLEVR images that the tokenizers are pretrained on.
        language: How the language model is made; by default, as the shipped one.
        clip: How CLIP's ViT is made; by default, as the shipped one.
        convnext: How the ConvNeXt is made; by default, as the shipped one.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        logger.info("writing %d images", images)
        plans = write_miniclevr(Path(scratch), MiniClevr(images=images, seed=SEED_OFFSET + seed))
        pixels = tokenizers.read_pixels(Path(scratch), plans)
    scenes = [plan.scene for plan in plans]
    scores = {
        "clip": tokenizers.pretrain_clip(pixels, scenes, out / "clip", clip, seed),
        "convnext": tokenizers.pretrain_convnext(pixels, scenes, out / "convnext", convnext, seed),
        "language": miniclevr.pretrain_language(
            out / "language", language or miniclevr.MiniClevrRecipe(), seed
        ),
    }
    write_scores(out, scores)


def build_drawing(out: Path, seed: int, recipe: DrawingRecipe | None = None) -> None:
    """Writes ``out/{judge,refinement,diffusion}`` and their scores.

    What an earlier build by the same seed has finished in ``out`` is kept.

    Args:
        out: Folder of the checkpoints.
        seed: Seed of all random draws.
        recipe: How they are made; by default, as the shipped ones.

    Raises:
        ValueError: if ``diffusers`` is not installed (extra ``diffusion``), or ``out`` holds
            checkpoints of another seed.
    """
    require_diffusers()
    from .drawing.training import DrawingRecipe, DrawingTraining

    out.mkdir(parents=True, exist_ok=True)
    _check_seed(out, seed)
    training = DrawingTraining(out, recipe or DrawingRecipe(), seed, SEED_OFFSET + seed)
    scores = read_scores(out) if (out / SCORES).is_file() else {}
    for name, train in training.parts.items():
        if name in scores:
            logger.info("%s is there already", name)
            continue
        logger.info("training %s", name)
        scores[name] = train()
        write_scores(out, scores)


def _check_seed(out: Path, seed: int) -> None:
    """Raises ValueError if a build by another seed has begun in a folder."""
    file = out / "seed.txt"
    if file.is_file() and (found := file.read_text().strip()) != str(seed):
        raise ValueError(f"{out} holds checkpoints of seed {found}; take another folder")
    file.write_text(f"{seed}\n")


@dataclass(frozen=True)
class World:
    """A miniature world: the name of its shipped checkpoints, and what builds them.

    ``build`` takes a folder and a seed; ``folder`` is the name that ``tokcom zoo build`` gives the
    folder.
    """

    checkpoints: str
    build: Callable[[Path, int], None]

    @property
    def folder(self) -> str:
        return pocket_folder(self.checkpoints).name


WORLDS = {
    "minimusic": World(POCKET, build_minimusic),
    "miniclevr": World(POCKET_IMAGES, build_miniclevr),
    "drawing": World(POCKET_DRAWING, build_drawing),
}
