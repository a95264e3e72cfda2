"""Pretrains MiniCLEVR's language model: it reads scenes, answers, describes and judges reviews.

Besides predicting text, the model learns what some tokens mean. For this, read-outs of inner
layers, which are thrown away afterwards, predict three things:

1. At a noun: how many solids match the description that the noun ends and, if it is a single one,
   all there is to tell about it. Without this, counts are hardly compared.
2. At the end of a caption's clause: the same about the solid that the clause has told. Without
   this, the model binds a caption's words to their solid only long after it reads soft clauses.
3. At a solid that comes after its instruction: whether the instruction describes it. Without this,
   contexts after instructions stay unread in so few steps.

A second stage asks to compare and relate. It also reads out where the solids of a noun are and, at
a question's second noun, how the solids of the two nouns compare and relate. Without this,
attributes were not compared at all (.51, as a coin), and relations were answered at .79.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM

from ...datasets.miniclevr.language import FAMILIES, TYPES, ask
from ...datasets.miniclevr.reviews import review
from ...datasets.miniclevr.scene import ATTRIBUTES, sample_scene
from ..language_model import LanguageRecipe, forward, new_model, save, schedule, weighted_loss
from .packing import MEANINGS, Context, Denoting, Packer, batch_of, build_tokenizer
from .readouts import ReadOuts
from .scores import evaluate_language

logger = logging.getLogger(__name__)

_RETRIEVAL_TYPES = tuple(t for t in TYPES if not t.startswith("compare") and t != "relation")
_SAME_COLOR = [kind for kind, _ in FAMILIES].index("compare_attribute") + list(ATTRIBUTES).index(
    "color"
)
_LOOKED_UP = ("denoted", "matched")
"""Meanings that the first stage reads out; the second reads out all of :data:`MEANINGS`."""


@dataclass(frozen=True)
class MiniClevrRecipe(LanguageRecipe):
    """How MiniCLEVR's pocket language model is made; a batch's sequences are of three sorts."""

    steps: int = 4000
    batch_size: int = 36
    warmup_steps: int = 100
    retrieval_steps: int = 250
    scored_scenes: int = 600
    soft_fraction: float = 0.6
    words_fraction: float = 0.36
    """Share of the contexts given as words; the rest is questions without a context."""
    instruction_first: float = 0.2
    """Share of the sequences whose contexts come after their instructions."""
    reviews: float = 0.22
    """Share of the sequences with reviews in the first :attr:`retrieval_steps`.

    These steps suffice to learn reviews; afterwards, the share is a quarter of this.
    """
    questions: int = 6
    """Number of questions about a context that comes before them."""
    questions_restated: int = 2
    """The same if the context is also described, so that sequences are about equally long."""
    contexts: int = 2
    """Number of contexts in a sequence whose contexts come after their instructions."""
    reviews_at_once: int = 6
    """Number of reviews in one sequence.

    With fewer than about 48 reviews in a batch, the sentiment is not learned.
    """
    restated: float = 0.35
    """Share of the contexts that are also described."""
    restate_weight: float = 0.3
    meaning_weight: float = 0.5
    """Loss weight of the read-outs, relative to the text."""
    meaning_layers: tuple[int, ...] = (2, 3)
    """Layers whose states are read out."""
    embedding_std: float = 0.3
    comparing_rounds: int = 2
    """Number of rounds of a second stage, which asks to compare and relate: this is learned last.

    Each round starts a learning-rate schedule of its own.
    """
    comparing_steps: int = 2500
    """Number of steps of such a round."""
    comparing_rate: float = 1.5e-3
    color_steps: int = 1500
    """Number of steps of a further round, in which half of the compared attributes are colors.

    Colors have eight values and are equal in few scenes. Otherwise, they would be 12 % of the
    compared attributes and stay at a coin's accuracy.
    """
    recall_steps: int = 800
    """Number of steps of the final round, in which contexts are described again.

    A model that has not described any for some thousand steps has forgotten how: the loss of a
    caption is then 1.9, and was .02 before. No projector of visual tokens learns from captions
    what such a model cannot tell.
    """
    recall_rate: float = 1e-3


def pretrain_language(out: Path, recipe: MiniClevrRecipe, seed: int = 0) -> dict[str, float]:
    """Trains the model and saves it with its tokenizer to ``out``; returns its accuracies."""
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    packer = Packer(tokenizer, recipe.prose_weight)
    model = new_model(tokenizer, recipe)
    model.set_attn_implementation("eager")  # on a CPU, the fused one's gradient takes far longer
    nn.init.normal_(model.get_input_embeddings().weight, std=recipe.embedding_std)
    _train(model, packer, _Stage(recipe, np.ones(len(TYPES)), _LOOKED_UP), seed, out)
    comparing = replace(
        recipe,
        steps=recipe.comparing_steps,
        learning_rate=recipe.comparing_rate,
        retrieval_steps=0,
        restated=0.0,
        instruction_first=recipe.instruction_first / 2,
    )
    frequency = np.where([kind in _RETRIEVAL_TYPES for kind in TYPES], 0.15, 1.0)
    colors = replace(comparing, steps=recipe.color_steps)
    recalling = replace(
        comparing,
        steps=recipe.recall_steps,
        learning_rate=recipe.recall_rate,
        restated=recipe.restated,
    )
    rounds = [
        *(_Stage(comparing, frequency, tuple(MEANINGS)) for _ in range(recipe.comparing_rounds)),
        *(_Stage(r, frequency, tuple(MEANINGS), same_color=0.5) for r in (colors, recalling)),
    ]
    for own, stage in enumerate(rounds, start=seed + 3):
        model = Qwen2ForCausalLM.from_pretrained(out, dtype=torch.float32)  # rounded as shipped
        model.set_attn_implementation("eager")
        torch.manual_seed(own)
        _train(model, packer, stage, own, out)
    return evaluate_language(model, packer, scenes=recipe.scored_scenes, seed=seed + 2)


@dataclass(frozen=True)
class _Stage:
    """One stage of the model's training.

    Attributes:
        recipe: Number of steps, learning rate and mix of the sequences.
        frequency: Frequency of each question type.
        meanings: Which of :data:`MEANINGS` are read out.
        same_color: Share of the compared attributes that should be colors, where scenes allow it.
    """

    recipe: MiniClevrRecipe
    frequency: NDArray[np.float64]
    meanings: tuple[str, ...]
    same_color: float = 0.0

    def draw_types(
        self, count: int, frequency: NDArray[np.float64], rng: np.random.Generator
    ) -> list[str | int]:
        """Draws ``count`` types of questions, some given by one of their families."""
        drawn = rng.choice(len(TYPES), size=count, p=frequency / frequency.sum())
        types: list[str | int] = [TYPES[i] for i in drawn]
        if not self.same_color:
            return types
        return [
            _SAME_COLOR if kind == "compare_attribute" and rng.random() < self.same_color else kind
            for kind in types
        ]


def _train(model: Qwen2ForCausalLM, packer: Packer, stage: _Stage, seed: int, out: Path) -> None:
    """Trains one stage with read-outs of its own, and saves the model in ``out``."""
    recipe, usual = stage.recipe, stage.frequency
    tokenizer = build_tokenizer()
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    readouts = nn.ModuleList(
        ReadOuts(recipe.hidden_size, stage.meanings) for _ in recipe.meaning_layers
    )
    parameters = [*model.parameters(), *readouts.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    frequency = usual
    if recipe.retrieval_steps:
        frequency = np.array([float(kind in _RETRIEVAL_TYPES) for kind in TYPES])
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe)
        if step == recipe.retrieval_steps:
            frequency = usual
        reviews = recipe.reviews / (4 if step >= recipe.retrieval_steps else 1)
        batch = batch_of(_draw_batch(packer, stage, reviews, frequency, rng))
        loss = _loss(model, readouts, batch, recipe, generator)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if (step + 1) % recipe.evaluate_every == 0:
            found = evaluate_language(model, packer, scenes=100, seed=seed + 1)
            logger.info("step %d: loss %.3f, %s", step + 1, loss.item(), _shown(found))
            if step + 1 > recipe.retrieval_steps:
                weakest = [min(found[f"words: {k}"], found[f"soft: {k}"]) for k in TYPES]
                frequency = usual * (1.15 - np.array(weakest))
            save(model, tokenizer, out)
    save(model, tokenizer, out)


def _shown(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {score:.3f}" for name, score in scores.items())


def _draw_batch(
    packer: Packer,
    stage: _Stage,
    reviews: float,
    frequency: NDArray[np.float64],
    rng: np.random.Generator,
) -> list[Denoting]:
    """Sequences of all three sorts; ``reviews`` is the share of those with reviews."""
    recipe = stage.recipe
    behind, judged = (
        round(share * recipe.batch_size) for share in (recipe.instruction_first, reviews)
    )
    packed = []
    for i in range(recipe.batch_size):
        if i < judged:
            packed.append(packer.reviews([review(rng) for _ in range(recipe.reviews_at_once)]))
            continue
        context = _draw_context(recipe, rng)
        if i < judged + behind:
            scenes = [sample_scene(rng) for _ in range(recipe.contexts)]
            asked = [
                (scene, question)
                for scene in scenes
                for question in ask(scene, stage.draw_types(1, frequency, rng), rng)
            ]
            packed.append(packer.instruction_first(asked, context, rng))
            continue
        scene, restated = sample_scene(rng), rng.random() < recipe.restated
        count = recipe.questions_restated if restated else recipe.questions
        questions = ask(scene, stage.draw_types(count, frequency, rng), rng)
        restate = recipe.restate_weight * restated
        packed.append(packer.image_first(scene, questions, context, restate, rng))
    return packed


def _draw_context(recipe: MiniClevrRecipe, rng: np.random.Generator) -> Context:
    draw = rng.random()
    if draw < recipe.soft_fraction:
        return "soft"
    return "words" if draw < recipe.soft_fraction + recipe.words_fraction else "none"


def _loss(
    model: Qwen2ForCausalLM,
    readouts: nn.ModuleList,
    batch: dict[str, Tensor],
    recipe: MiniClevrRecipe,
    generator: torch.Generator,
) -> Tensor:
    found = forward(model, batch, recipe.soft_noise, generator, hidden_states=True)
    assert found.logits is not None
    assert found.hidden_states is not None
    loss = weighted_loss(found.logits, batch)
    for layer, readout in zip(recipe.meaning_layers, readouts, strict=True):
        assert isinstance(readout, ReadOuts)
        meant = readout.loss(found.hidden_states[layer].float(), batch)
        loss = loss + recipe.meaning_weight / len(readouts) * meant
    return loss
