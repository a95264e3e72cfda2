"""Pretrains MiniMUSIC's language model: it reads captions and answers questions.

Each caption is followed by a restatement with its clauses in another order. This teaches the model
to look up what belongs to an instrument, which questions alone do not.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast, Qwen2ForCausalLM

from ...datasets.annotations import fill
from ...datasets.minimusic.language import TEMPLATES, TemplatedQuestion, ask, ask_one, caption
from ...datasets.minimusic.scene import (
    COLUMNS,
    INSTRUMENTS,
    LOUDNESS,
    NUMBERS,
    ORDINALS,
    ROWS,
    Scene,
    sample_scene,
)
from ..language_model import (
    EOS,
    LanguageRecipe,
    forward,
    new_model,
    save,
    schedule,
    weighted_loss,
    word_tokenizer,
)
from ..packing import Packed, collate

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class MiniMusicRecipe(LanguageRecipe):
    """How MiniMUSIC's pocket language model is made."""

    questions: int = 6


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word, for all words of MiniMUSIC."""
    words = {*INSTRUMENTS, *ROWS, *COLUMNS, *LOUDNESS, *ORDINALS, *NUMBERS}
    words |= {"silent", "plays", "offscreen", ",", ".", "?", "yes", "no", "loudest"}
    for _, content, _ in TEMPLATES:
        plain = content.replace("<", " ").replace(">", " ").replace("?", " ? ").lower()
        words |= set(plain.split()) - {"object", "lr", "ll", "fl", "th"}
    return word_tokenizer(words)


class Packer:
    """Turns scenes into packed sequences of token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, recipe: MiniMusicRecipe) -> None:
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._recipe = recipe
        self.eos = self._ids[EOS]

    def encode(self, text: str) -> list[int]:
        spaced = text.lower().replace("?", " ?")
        return [self._ids[word] for word in spaced.split()]

    def pack(
        self, scene: Scene, questions: list[TemplatedQuestion], soft: bool, rng: np.random.Generator
    ) -> Packed:
        packed = Packed()
        prose = self._recipe.prose_weight
        if soft:
            packed.append_soft(self._soft_clauses(scene, rng), 0, 0)
        else:
            told = self.encode(caption(scene, rng))
            packed.append(told, [prose] * len(told), 0, 0)
        start = len(packed.words)
        restated = self.encode(f". {caption(scene, rng)}")
        packed.append(restated, [1.0] * len(restated), 1, start)
        for i, question in enumerate(questions):
            asked = self.encode(fill(question.content, list(question.values)))
            answer = [self._ids[question.answer], self.eos]
            packed.append(asked + answer, [prose] * len(asked) + [1.0] * len(answer), 2 + i, start)
        return packed

    def _soft_clauses(self, scene: Scene, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """What the picture says, then what the sound says, each in random order.

        Each clause occurs once to three times, among up to three empty tokens.
        """
        seen = [(s.name, s.row_name, s.column_name) for s in scene.visible]
        received = [(s.name, s.loudness_name, ORDINALS[scene.order(s)]) for s in scene.sounding]
        clauses: list[tuple[int, ...]] = []
        for facts in (seen, received):
            repeated: list[tuple[int, ...]] = [()] * int(rng.integers(0, 4))
            for words in facts:
                ids = tuple(self._ids[word] for word in words)
                repeated += [ids] * int(rng.integers(1, 4))
            clauses += [repeated[i] for i in rng.permutation(len(repeated))]
        return clauses


def pretrain_language(out: Path, recipe: MiniMusicRecipe, seed: int = 0) -> dict[str, float]:
    """Trains the model and saves it with its tokenizer to ``out``; returns accuracy by template."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    tokenizer = build_tokenizer()
    packer = Packer(tokenizer, recipe)
    model = new_model(tokenizer, recipe)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    frequency = np.array([0.0 if t[0][1] == "Comparative" else 1.0 for t in TEMPLATES])
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * schedule(step, recipe)
        batch = collate(
            [
                packer.pack(
                    scene,
                    _draw_questions(scene, recipe.questions, frequency, rng),
                    bool(rng.random() < recipe.soft_fraction),
                    rng,
                )
                for scene in (sample_scene(rng) for _ in range(recipe.batch_size))
            ]
        )
        logits = forward(model, batch, recipe.soft_noise, generator).logits
        assert logits is not None
        loss = weighted_loss(logits, batch)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % recipe.evaluate_every == 0:
            words = evaluate_language(model, packer, soft=False, scenes=200, seed=seed + 1)
            blended = evaluate_language(model, packer, soft=True, scenes=200, seed=seed + 1)
            logger.info(
                "step %d: loss %.3f, words %.3f, soft clauses %.3f",
                step + 1,
                loss.item(),
                words["all"],
                blended["all"],
            )
            if step + 1 >= recipe.retrieval_steps:
                frequency = np.array([1.1 - words.get(t[1], 0.0) for t in TEMPLATES])
            save(model, tokenizer, out)
    save(model, tokenizer, out)
    return evaluate_language(model, packer, soft=False, scenes=recipe.scored_scenes, seed=seed + 2)


def _draw_questions(
    scene: Scene, count: int, frequency: NDArray[np.float64], rng: np.random.Generator
) -> list[TemplatedQuestion]:
    """Questions of ``count`` templates drawn by frequency, without those that make no sense."""
    drawn = rng.choice(len(TEMPLATES), size=count, p=frequency / frequency.sum())
    asked = (ask_one(scene, int(template), rng) for template in drawn)
    return [question for question in asked if question is not None]


@torch.no_grad()
def evaluate_language(
    model: Qwen2ForCausalLM, packer: Packer, soft: bool, scenes: int, seed: int
) -> dict[str, float]:
    """Accuracy of the answer over the whole vocabulary, by template and over ``all``."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    hits: dict[str, list[bool]] = {}
    for _ in range(max(1, scenes // 50)):
        drawn = [sample_scene(rng) for _ in range(50)]
        asked = [ask(scene, len(TEMPLATES), rng) for scene in drawn]
        batch = collate([packer.pack(s, q, soft, rng) for s, q in zip(drawn, asked, strict=True)])
        logits = forward(model, batch, LanguageRecipe.soft_noise if soft else 0.0, generator).logits
        assert logits is not None
        predicted = logits.float().argmax(-1)
        for b, questions in enumerate(asked):
            for i, question in enumerate(questions):
                own = torch.nonzero(batch["segment"][b] == 2 + i).flatten()
                at = own[-3]  # the question's last token predicts the answer
                assert batch["target"][b, own[-2]] == packer.eos
                hits.setdefault(question.content, []).append(
                    bool(predicted[b, at] == batch["target"][b, at])
                )
    everything = [hit for group in hits.values() for hit in group]
    return {"all": float(np.mean(everything)), **{k: float(np.mean(v)) for k, v in hits.items()}}
