"""What the pocket language models have in common: tokenizer, Qwen2 layout, loss and schedule.

They see text only, as the real ones do. Some of the contexts are given as *soft clauses*: a single
token tells a whole clause, as the normalised sum of its words' embeddings. This stands in for the
tolerance to mixed embeddings that a large language model has and a small one lacks. Without it, no
token that blends several words could be read. The documentation of the two worlds says what follows
from it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.modeling_outputs import CausalLMOutputWithPast

from ..answers import IGNORED
from .packing import block_mask, embed

PAD, EOS, UNK = "<pad>", "<eos>", "<unk>"

_TOKENIZER_CLASS = "tokenization_utils_tokenizers.TokenizersBackend"
"""Class in transformers that applies ``tokenizer.json`` as it stands.

For a folder with a Qwen2, AutoTokenizer uses Qwen2's own byte-level rules, in which a word is not a
token, whatever tokenizer class the folder names. Only a class that is named for AutoTokenizer
itself takes precedence.
"""


@dataclass(frozen=True)
class LanguageRecipe:
    """How a pocket language model is made."""

    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    intermediate_size: int = 384
    rope_theta: float = 200.0
    """Captions are short: slow rotations would be wasted on them."""
    steps: int = 3500
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 200
    retrieval_steps: int = 500
    """Number of first steps, in which nothing is compared: they teach the look-up."""
    evaluate_every: int = 200
    """Steps between evaluations, after which weak questions are asked more often."""
    scored_scenes: int = 1000
    """Number of scenes for the scores that are shipped with the model."""
    soft_fraction: float = 0.3
    """Share of the contexts given as soft clauses."""
    soft_noise: float = 0.3
    """Noise on soft clauses, relative to the embeddings' RMS."""
    prose_weight: float = 0.1
    """Loss weight of the words of contexts and questions; words of answers have weight 1."""


def word_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer with one token per word."""
    vocabulary = {word: i for i, word in enumerate([PAD, EOS, UNK, *sorted(set(words))])}
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


def new_model(tokenizer: PreTrainedTokenizerFast, recipe: LanguageRecipe) -> Qwen2ForCausalLM:
    """An untrained model in Qwen2's layout; the vocabulary is padded to a multiple of 16."""
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


def save(model: Qwen2ForCausalLM, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Writes a model in half precision, and its tokenizer."""
    copy.deepcopy(model).to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)


def schedule(step: int, recipe: LanguageRecipe) -> float:
    """Factor of the learning rate: a linear warm-up, then a cosine to 2 %."""
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def forward(
    model: Qwen2ForCausalLM,
    batch: dict[str, Tensor],
    noise: float,
    generator: torch.Generator,
    hidden_states: bool = False,
) -> CausalLMOutputWithPast:
    """The model's output for packed sequences, computed in bfloat16."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found: CausalLMOutputWithPast = model(
            inputs_embeds=embed(model, batch["words"], noise, generator),
            attention_mask=block_mask(batch["segment"]),
            position_ids=batch["position"],
            use_cache=False,
            output_hidden_states=hidden_states,
        )
    return found


def weighted_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Cross-entropy of the next token, averaged with the packed weights."""
    each = F.cross_entropy(
        logits.float().flatten(0, 1),
        batch["target"].flatten(),
        ignore_index=IGNORED,
        reduction="none",
    )
    weight = batch["weight"].flatten()
    return (each * weight).sum() / weight.sum()
