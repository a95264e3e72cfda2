"""The parts of the drawing zoo, in the order in which they are trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ...datasets.miniclevr.drawing import sample_wish
from ...diffusion.evaluation import EVALUATION_SEED, evaluate
from ...diffusion.judge import load_judge
from ...diffusion.patches import PatchAutoencoder
from ...diffusion.pipeline import ImageGenerator, Sampling
from ...diffusion.refinement import PromptRefiner
from ..training import Recipe
from .diffusion import DiffusionRecipe, train_diffusion
from .pictures import (
    JUDGE_RECIPE,
    Pictures,
    make_pictures,
    train_judge,
)
from .refinement import REFINEMENT_RECIPE, train_refinement

_SCORED_STEPS = 10


@dataclass(frozen=True)
class DrawingRecipe:
    """How the drawing checkpoints are made."""

    pictures: int = 8000
    judge: Recipe = JUDGE_RECIPE
    refinement: Recipe = REFINEMENT_RECIPE
    diffusion: DiffusionRecipe = field(default_factory=DiffusionRecipe)
    scored_wishes: int = 200
    """Number of wishes that are drawn to score the checkpoints."""


@dataclass(frozen=True)
class DrawingTraining:
    """Trains the drawing checkpoints below ``out``.

    Args:
        out: Folder of the checkpoints.
        recipe: How they are made.
        seed: Seed of the training.
        pictures_seed: Seed of the pictures.
    """

    out: Path
    recipe: DrawingRecipe
    seed: int
    pictures_seed: int

    @property
    def parts(self) -> dict[str, Callable[[], dict[str, float]]]:
        """What trains each checkpoint and returns its scores; the last needs all others."""
        return {
            "judge": self._train_judge,
            "refinement": self._train_refinement,
            "diffusion": self._train_diffusion,
        }

    @cached_property
    def _pictures(self) -> Pictures:
        return make_pictures(self.recipe.pictures, self.pictures_seed)

    @cached_property
    def _autoencoder(self) -> PatchAutoencoder:
        autoencoder: PatchAutoencoder = PatchAutoencoder()
        autoencoder.fit(self._pictures.pixels[: self._pictures.trained])
        return autoencoder

    def _train_judge(self) -> dict[str, float]:
        pixels = self._pictures.pixels
        reconstructed = self._autoencoder.decode(self._autoencoder.encode(pixels)).sample
        folder = self.out / "judge"
        return train_judge(self._pictures, reconstructed, folder, self.recipe.judge, self.seed)

    def _train_refinement(self) -> dict[str, float]:
        return train_refinement(self.out / "refinement", self.recipe.refinement, self.seed)

    def _train_diffusion(self) -> dict[str, float]:
        """Trains the pipeline; returns the shares of wishes fulfilled, see :func:`.evaluate`."""
        folder = self.out / "diffusion"
        train_diffusion(self._pictures, self._autoencoder, folder, self.recipe.diffusion, self.seed)
        rng = np.random.default_rng([self.seed, EVALUATION_SEED])
        verdicts = evaluate(
            ImageGenerator(str(folder), "cpu"),
            PromptRefiner(adapter=self.out / "refinement", device="cpu"),
            load_judge(self.out / "judge"),
            [sample_wish(rng, held_out=True) for _ in range(self.recipe.scored_wishes)],
            self.seed,
            Sampling(_SCORED_STEPS),
        )
        return {
            name: float(np.mean([verdict.fulfilled for verdict in own]))
            for name, own in verdicts.items()
        }
