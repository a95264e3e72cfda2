"""Trains the adapter with which the pocket language model refines prompts.

A large language model follows the template as it stands. One of 0.8 M weights does not. Therefore a
LoRA adapter learns both stages from wishes whose meaning is known, and no other weight changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...checkpoints import POCKET_IMAGES
from ...datasets.miniclevr.drawing import Wish, sample_wish
from ...diffusion.refinement import POCKET_TEMPLATE, PromptRefiner, embed_instructions
from ...foundation import FoundationModel, LoraShape
from ..training import Recipe, fit

REFINEMENT_RECIPE = Recipe(steps=700, batch_size=16, learning_rate=1e-2)
_SHAPE = LoraShape(rank=16, alpha=32, dropout=0.0)
_SCORED = 200


def train_refinement(out: Path, recipe: Recipe, seed: int) -> dict[str, float]:
    """Writes the adapter; returns the shares of drafts and prompts that are right word by word."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = FoundationModel(POCKET_IMAGES, _SHAPE, "cpu").train()

    def loss() -> Tensor:
        # three drafts for each prompt: a prompt is far easier, as it only adds places to a draft
        wishes = [sample_wish(rng, held_out=False) for _ in range(recipe.batch_size * 3 // 4)]
        turns = [(POCKET_TEMPLATE.first(wish.text), wish.plain) for wish in wishes]
        turns += [
            (POCKET_TEMPLATE.second(wish.text, wish.plain), wish.caption) for wish in wishes[::3]
        ]
        prompt, valid = embed_instructions(model, [asked for asked, _ in turns])
        answers = model.answer_ids([told for _, told in turns])
        return model.answer_losses(prompt, valid, answers).all_tokens

    fit((p for p in model.parameters() if p.requires_grad), recipe, loss)
    model.model.peft_config["default"].base_model_name_or_path = POCKET_IMAGES
    model.save_adapter(out)
    (out / "README.md").unlink()  # PEFT's template, which says nothing
    unseen = [sample_wish(rng, held_out=True) for _ in range(_SCORED)]
    return score_refinement(PromptRefiner(adapter=out, device="cpu"), unseen)


def score_refinement(refiner: PromptRefiner, wishes: Sequence[Wish]) -> dict[str, float]:
    """Share of the drafts, and share of the prompts, that are right word by word."""
    refined = refiner.refine([wish.text for wish in wishes])
    pairs = list(zip(refined, wishes, strict=True))
    return {
        "draft": float(np.mean([found.draft == wish.plain for found, wish in pairs])),
        "prompt": float(np.mean([found.prompt == wish.caption for found, wish in pairs])),
    }
