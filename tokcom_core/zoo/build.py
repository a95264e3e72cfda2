"""Builds the pocket zoo from nothing, and says how good it is."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path

from ..checkpoints import KINDS
from ..datasets.media import prepare
from ..datasets.minimusic.write import write_minimusic
from .pretrain_encoders import EncoderRecipe, pretrain_audio, pretrain_vision
from .pretrain_language import LanguageRecipe, pretrain_language

logger = logging.getLogger(__name__)

SEED_OFFSET = 990_001
"""Keeps the clips that encoders are pretrained on apart from those of any study."""
_SCORES = "scores.json"


def build_zoo(
    out: Path,
    clips: int,
    seed: int,
    language: LanguageRecipe | None = None,
    encoders: EncoderRecipe | None = None,
) -> None:
    """Writes ``out/{vision,audio,language}`` and their scores.

    Args:
        out: folder of the checkpoints.
        clips: MiniMUSIC clips that the encoders are pretrained on.
        seed: of everything.
        language: how the language model is made; the shipped one's recipe by default.
        encoders: how the encoders are made, likewise.
    """
    encoder_recipe = encoders or EncoderRecipe()
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        logger.info("writing %d clips", clips)
        plans = write_minimusic(root, clips, SEED_OFFSET + seed)
        prepare(root)
        scores = {
            "vision": pretrain_vision(root, plans, out / "vision", encoder_recipe, seed),
            "audio": pretrain_audio(root, plans, out / "audio", encoder_recipe, seed),
        }
    scores["language"] = pretrain_language(out / "language", language or LanguageRecipe(), seed)
    (out / _SCORES).write_text(json.dumps(scores, indent=1))


def read_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Held-out accuracy by checkpoint and attribute, as the build measured it.

    Raises:
        ValueError: if ``folder`` holds no zoo.
    """
    file = folder / _SCORES
    if not file.is_file():
        raise ValueError(f"no zoo in {folder}; 'tokcom zoo build {folder}' makes one")
    scores: dict[str, dict[str, float]] = json.loads(file.read_text())
    assert set(scores) <= set(KINDS)
    return scores
