"""Pretrains the pocket language model: a small Qwen2 that reads captions and answers questions.

It sees text only, as the real ones do. A part of the captions is given as *soft clauses*: what one
modality says about one source, as the normalised sum of its words' embeddings. It stands for the
tolerance to mixed embeddings that a large language model has and a small one has not; without it
no token that blends several words can be read. ``docs/minimusic.md`` says what follows from it.
After each caption it is restated with its clauses in another order: that teaches to look up what
belongs to an instrument, which questions alone do not.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from ..datasets.annotations import fill
from ..datasets.minimusic.language import TEMPLATES, TemplatedQuestion, ask, ask_one, caption
from ..datasets.minimusic.scene import (
    COLUMNS,
    INSTRUMENTS,
    LOUDNESS,
    NUMBERS,
    ORDINALS,
    ROWS,
    Scene,
    sample_scene,
)

logger = logging.getLogger(__name__)

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"
IGNORED = -100

_TOKENIZER_CLASS = "tokenization_utils_tokenizers.TokenizersBackend"
"""For every folder of a Qwen2, AutoTokenizer takes Qwen2's own byte-level rules, to which a word
is no token, whatever class the folder names. A class named for AutoTokenizer itself goes first;
this one is transformers' own, that applies ``tokenizer.json`` as it stands."""


@dataclass(frozen=True)
class LanguageRecipe:
    """How the pocket language model is made."""

    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    intermediate_size: int = 384
    rope_theta: float = 200.0
    """Captions are short: slow rotations would be wasted on them."""
    steps: int = 3500
    batch_size: int = 64
    questions: int = 6
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    retrieval_steps: int = 500
    """First steps, in which nothing is compared: they teach the look-up."""
    evaluate_every: int = 200
    """Steps between evaluations, after which weak templates are asked more often."""
    soft_fraction: float = 0.3
    """Share of the captions given as soft clauses."""
    soft_noise: float = 0.3
    """Noise on soft clauses, relative to the embeddings' RMS."""
    prose_weight: float = 0.1
    """Weight of predicting captions and questions, beside answers and restatements."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, over all words of MiniMUSIC."""
    words = {*INSTRUMENTS, *ROWS, *COLUMNS, *LOUDNESS, *ORDINALS, *NUMBERS}
    words |= {"silent", "plays", "offscreen", ",", ".", "?", "yes", "no", "loudest"}
    for _, content, _ in TEMPLATES:
        plain = content.replace("<", " ").replace(">", " ").replace("?", " ? ").lower()
        words |= set(plain.split()) - {"object", "lr", "ll", "fl", "th"}
    vocabulary = {word: i for i, word in enumerate([PAD, EOS, UNK, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNK))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNK,
        auto_map={"AutoTokenizer": [_TOKENIZER_CLASS, None]},
    )


@dataclass
class Packed:
    """One scene's prefix and its questions, side by side in one sequence.

    ``segment`` is 0 for the prefix and 1, 2, ... for what follows it; a segment sees the prefix
    and itself. A soft token averages ``mixture`` words, an ordinary one has just one.
    """

    words: list[tuple[int, ...]]
    segment: list[int]
    position: list[int]
    target: list[int]
    weight: list[float]

    def append(self, ids: list[int], weights: list[float], segment: int, start: int) -> None:
        """Adds text whose token i is predicted from token i-1 with weight ``weights[i]``."""
        for i, token in enumerate(ids):
            self.words.append((token,))
            self.segment.append(segment)
            self.position.append(start + i)
            last = i + 1 == len(ids)
            self.target.append(IGNORED if last else ids[i + 1])
            self.weight.append(0.0 if last else weights[i + 1])


class Packer:
    """Turns scenes into packed sequences of token ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, recipe: LanguageRecipe) -> None:
        self._ids: dict[str, int] = tokenizer.get_vocab()
        self._recipe = recipe

    def encode(self, text: str) -> list[int]:
        spaced = text.lower().replace("?", " ?")
        return [self._ids[word] for word in spaced.split()]

    def pack(
        self, scene: Scene, questions: list[TemplatedQuestion], soft: bool, rng: np.random.Generator
    ) -> Packed:
        packed = Packed([], [], [], [], [])
        prose = self._recipe.prose_weight
        if soft:
            for words in self._soft_clauses(scene, rng):
                packed.words.append(words)
                packed.segment.append(0)
                packed.position.append(len(packed.position))
                packed.target.append(IGNORED)
                packed.weight.append(0.0)
        else:
            told = self.encode(caption(scene, rng))
            packed.append(told, [prose] * len(told), 0, 0)
        start = len(packed.words)
        restated = self.encode(f". {caption(scene, rng)}")
        packed.append(restated, [1.0] * len(restated), 1, start)
        for i, question in enumerate(questions):
            asked = self.encode(fill(question.content, list(question.values)))
            answer = [self._ids[question.answer], self._ids[EOS]]
            packed.append(asked + answer, [prose] * len(asked) + [1.0] * len(answer), 2 + i, start)
        return packed

    def _soft_clauses(self, scene: Scene, rng: np.random.Generator) -> list[tuple[int, ...]]:
        """What the picture says, then what the sound says; each clause once to three times."""
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


def collate(packed: list[Packed]) -> dict[str, Tensor]:
    """Pads packed sequences; ``words`` is ``[B, S, W]`` with -1 where a token mixes fewer."""
    batch, length = len(packed), max(len(p.words) for p in packed)
    width = max((len(w) for p in packed for w in p.words), default=1)
    words = np.full((batch, length, width), -1, dtype=np.int64)
    segment = np.full((batch, length), -1, dtype=np.int64)
    position = np.zeros((batch, length), dtype=np.int64)
    target = np.full((batch, length), IGNORED, dtype=np.int64)
    weight = np.zeros((batch, length), dtype=np.float32)
    for b, p in enumerate(packed):
        n = len(p.words)
        for i, mixture in enumerate(p.words):
            words[b, i, : len(mixture)] = mixture
        segment[b, :n], position[b, :n] = p.segment, p.position
        target[b, :n], weight[b, :n] = p.target, p.weight
    arrays = {
        "words": words,
        "segment": segment,
        "position": position,
        "target": target,
        "weight": weight,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def block_mask(segment: Tensor) -> Tensor:
    """``[B, 1, S, S]`` additive mask: causal, own segment and the prefix only."""
    length = segment.shape[1]
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    same = segment[:, :, None] == segment[:, None, :]
    prefix = (segment == 0)[:, None, :]
    return torch.where((same | prefix) & causal, 0.0, float("-inf"))[:, None]


def embed(
    model: Qwen2ForCausalLM, words: Tensor, noise: float, generator: torch.Generator
) -> Tensor:
    """Mean of each token's word embeddings times sqrt(count); soft ones with noise."""
    table = model.get_input_embeddings().weight
    present = (words >= 0).unsqueeze(-1)
    count = present.sum(2)
    total = (F.embedding(words.clamp(min=0), table) * present).sum(2)
    rms = table.detach().pow(2).mean().sqrt()
    soft = count != 1
    disturbance = torch.randn(total.shape, generator=generator) * rms * noise
    embedded: Tensor = total / count.clamp(min=1).sqrt() + disturbance * soft
    return embedded


def pretrain_language(out: Path, recipe: LanguageRecipe, seed: int = 0) -> dict[str, float]:
    """Trains the model, saves it with its tokenizer to ``out``, returns accuracy by template."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    tokenizer = build_tokenizer()
    packer = Packer(tokenizer, recipe)
    model = _new_model(tokenizer, recipe)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    frequency = np.array([0.0 if t[0][1] == "Comparative" else 1.0 for t in TEMPLATES])
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
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
        loss = _loss(model, batch, recipe, generator)
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
            _save(model, tokenizer, out)
    _save(model, tokenizer, out)
    return evaluate_language(model, packer, soft=False, scenes=1000, seed=seed + 2)


def _draw_questions(
    scene: Scene, count: int, frequency: NDArray[np.float64], rng: np.random.Generator
) -> list[TemplatedQuestion]:
    """``count`` draws of a template by its frequency, less those that make no sense."""
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
        logits = _logits(model, batch, 0.3 if soft else 0.0, generator)
        predicted = logits.argmax(-1)
        eos = packer._ids[EOS]
        for b, questions in enumerate(asked):
            for i, question in enumerate(questions):
                own = torch.nonzero(batch["segment"][b] == 2 + i).flatten()
                at = own[-3]  # the question's last token predicts the answer
                assert batch["target"][b, own[-2]] == eos
                hits.setdefault(question.content, []).append(
                    bool(predicted[b, at] == batch["target"][b, at])
                )
    everything = [hit for group in hits.values() for hit in group]
    return {"all": float(np.mean(everything)), **{k: float(np.mean(v)) for k, v in hits.items()}}


def _new_model(tokenizer: PreTrainedTokenizerFast, recipe: LanguageRecipe) -> Qwen2ForCausalLM:
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=math.ceil(len(tokenizer) / 16) * 16,
            hidden_size=recipe.hidden_size,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.key_value_heads,
            intermediate_size=recipe.intermediate_size,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
            initializer_range=0.05,
            rope_parameters={"rope_type": "default", "rope_theta": recipe.rope_theta},
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    copy.deepcopy(model).to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def _schedule(step: int, recipe: LanguageRecipe) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def _logits(
    model: Qwen2ForCausalLM, batch: dict[str, Tensor], noise: float, generator: torch.Generator
) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits: Tensor = model(
            inputs_embeds=embed(model, batch["words"], noise, generator),
            attention_mask=block_mask(batch["segment"]),
            position_ids=batch["position"],
            use_cache=False,
        ).logits
    return logits.float()


def _loss(
    model: Qwen2ForCausalLM,
    batch: dict[str, Tensor],
    recipe: LanguageRecipe,
    generator: torch.Generator,
) -> Tensor:
    logits = _logits(model, batch, recipe.soft_noise, generator)
    each = F.cross_entropy(
        logits.flatten(0, 1), batch["target"].flatten(), ignore_index=IGNORED, reduction="none"
    )
    weight = batch["weight"].flatten()
    return (each * weight).sum() / weight.sum()
