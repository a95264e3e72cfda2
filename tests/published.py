"""Checkpoints of the structure that paper 1 names on the Hub, at reduced width and depth.

The files are those that Hugging Face's own ``save_pretrained`` writes: what is in the published
folders under the published names, so that whatever reads these reads those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    GenerationConfig,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2Tokenizer,
    VivitConfig,
    VivitForVideoClassification,
    VivitImageProcessor,
)

TOKEN_WIDTH = 96
AUDIO_TOKENS, VIDEO_TOKENS = 1214, 3137
"""As in the paper: two more than 12 x 101 patches, one more than 16 x 14 x 14 tubelets."""

_CHAT = ("<|im_start|>", "<|im_end|>")
_SHARD_BYTES = 200_000
_SEED = 3


def write_qwen2(folder: Path, texts: Iterable[str]) -> None:
    """Qwen/Qwen2.5-1.5B: 12 query heads to 2 of keys, tied embeddings, bfloat16, in shards.

    Its generation settings are those of the instruct model. The tokenizer is Qwen2's own, trained
    on ``texts``; the embedding has more rows than that has tokens, as the published one.
    """
    tokenizer = _qwen2_tokenizer(texts)
    tokenizer.save_pretrained(folder)
    end, (_, chat_end) = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(list(_CHAT))
    config = Qwen2Config(
        vocab_size=64 * (len(tokenizer) // 64 + 2),
        hidden_size=TOKEN_WIDTH,
        intermediate_size=4 * TOKEN_WIDTH,
        num_hidden_layers=4,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=131_072,
        rms_norm_eps=1e-6,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        tie_word_embeddings=True,
        bos_token_id=end,
        eos_token_id=end,
    )
    torch.manual_seed(_SEED)
    model = Qwen2ForCausalLM(config).to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        pad_token_id=end,
        eos_token_id=[chat_end, end],
        do_sample=True,
        repetition_penalty=1.1,
        temperature=0.7,
        top_p=0.8,
        top_k=20,
    )
    model.save_pretrained(folder, max_shard_size=_SHARD_BYTES)


def _qwen2_tokenizer(texts: Iterable[str]) -> Qwen2Tokenizer:
    """Byte-level BPE under Qwen2's own rules; the special tokens stand behind all others."""
    learner = Tokenizer(BPE())
    learner.normalizer = (rules := Qwen2Tokenizer().backend_tokenizer).normalizer
    learner.pre_tokenizer = rules.pre_tokenizer
    alphabet = sorted(ByteLevel.alphabet())
    learner.train_from_iterator(
        texts, BpeTrainer(vocab_size=600, show_progress=False, initial_alphabet=alphabet)
    )
    learnt = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learnt["merges"]]
    return Qwen2Tokenizer(learnt["vocab"], merges, additional_special_tokens=list(_CHAT))


def write_ast(folder: Path) -> None:
    """MIT/ast-finetuned-audioset-10-10-0.4593: a classifier of 527 sounds over 1214 tokens."""
    config = ASTConfig(
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        patch_size=16,
        frequency_stride=10,
        time_stride=10,
        max_length=1024,
        num_mel_bins=128,
        num_labels=527,
    )
    torch.manual_seed(_SEED)
    ASTForAudioClassification(config).save_pretrained(folder)
    ASTFeatureExtractor(mean=-4.2677393, std=4.5689974).save_pretrained(folder)


def write_vivit(folder: Path) -> None:
    """google/vivit-b-16x2: a classifier of 400 actions over 3137 tokens, its image processor."""
    config = VivitConfig(
        hidden_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=96,
        image_size=224,
        num_frames=32,
        tubelet_size=[2, 16, 16],
        hidden_act="gelu_fast",
        layer_norm_eps=1e-6,
        num_labels=400,
    )
    torch.manual_seed(_SEED)
    VivitForVideoClassification(config).save_pretrained(folder)
    VivitImageProcessor(
        size={"shortest_edge": 256},
        crop_size={"height": 224, "width": 224},
        rescale_factor=1 / 127.5,
        offset=True,
        do_normalize=False,
    ).save_pretrained(folder)
