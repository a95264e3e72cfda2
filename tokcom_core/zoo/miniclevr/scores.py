"""Accuracies of MiniCLEVR's language model, by question type and kind of context."""

from __future__ import annotations

import numpy as np
import torch
from transformers import Qwen2ForCausalLM

from ...datasets.miniclevr.language import FAMILIES, TYPES, ask
from ...datasets.miniclevr.reviews import review
from ...datasets.miniclevr.scene import Scene, sample_scene
from ..language_model import LanguageRecipe, forward
from .packing import Context, Denoting, Packer, batch_of

_SCENES_AT_ONCE = 50


def evaluate_language(
    model: Qwen2ForCausalLM, packer: Packer, scenes: int, seed: int
) -> dict[str, float]:
    """Accuracies of the answer's first token over the whole vocabulary.

    Keys of the result:

    - ``words: TYPE`` and ``soft: TYPE``, also with ``all`` as type: contexts before the question.
    - ``words, instruction first`` and ``soft, instruction first``: contexts after the question,
      over all types.
    - ``words: caption`` and ``soft: caption``: instead, the fraction of a description's words that
      are told, given those before.
    - ``reviews``: the sentiment of reviews.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    scores: dict[str, float] = {}
    drawn = [sample_scene(rng) for _ in range(scenes)]
    for context in ("words", "soft"):
        hits: dict[str, list[bool]] = {"all": [], **{kind: [] for kind in TYPES}, "behind": []}
        for start in range(0, scenes, _SCENES_AT_ONCE):
            part = drawn[start : start + _SCENES_AT_ONCE]
            _collect_hits(model, packer, part, context, hits, rng, generator)
        behind = hits.pop("behind")
        scores |= {f"{context}: {kind}": float(np.mean(group)) for kind, group in hits.items()}
        scores[f"{context}, instruction first"] = float(np.mean(behind))
        scores[f"{context}: caption"] = _caption_accuracy(model, packer, drawn[:100], context)
    packed = [packer.reviews([review(rng) for _ in range(10)]) for _ in range(scenes // 10)]
    scores["reviews"] = float(np.mean(_hits(model, packer, packed, generator)))
    return scores


def _collect_hits(
    model: Qwen2ForCausalLM,
    packer: Packer,
    scenes: list[Scene],
    context: Context,
    hits: dict[str, list[bool]],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> None:
    asked = [ask(scene, TYPES, rng) for scene in scenes]
    pairs = list(zip(scenes, asked, strict=True))
    before = [packer.image_first(s, questions, context, 0.0, rng) for s, questions in pairs]
    found = _hits(model, packer, before, generator)
    kinds = [FAMILIES[question.family][0] for questions in asked for question in questions]
    for kind, hit in zip(kinds, found, strict=True):
        hits["all"].append(hit)
        hits[kind].append(hit)
    behind = [
        packer.instruction_first([(scene, q) for q in questions[::3]], context, rng)
        for scene, questions in pairs
    ]
    hits["behind"] += _hits(model, packer, behind, generator)


@torch.no_grad()
def _caption_accuracy(
    model: Qwen2ForCausalLM,
    packer: Packer,
    scenes: list[Scene],
    context: Context,
) -> float:
    rng = np.random.default_rng(len(scenes))
    batch = batch_of([packer.image_first(scene, [], context, 1.0, rng) for scene in scenes])
    generator = torch.Generator().manual_seed(len(scenes))
    logits = forward(model, batch, LanguageRecipe.soft_noise, generator).logits
    assert logits is not None
    told = batch["weight"] == 1.0
    return float((logits.argmax(-1) == batch["target"])[told].double().mean())


@torch.no_grad()
def _hits(
    model: Qwen2ForCausalLM, packer: Packer, packed: list[Denoting], generator: torch.Generator
) -> list[bool]:
    """Whether each one-word answer is told, in the order of the sequences and their segments."""
    batch = batch_of(packed)
    logits = forward(model, batch, LanguageRecipe.soft_noise, generator).logits
    assert logits is not None
    # the answer's word, whose target is the end, is predicted by the token before it
    ends = torch.nonzero(batch["target"] == packer.eos)
    rows, at = ends[:, 0], ends[:, 1] - 1
    hits: list[bool] = (logits[rows, at].argmax(-1) == batch["target"][rows, at]).tolist()
    return hits
