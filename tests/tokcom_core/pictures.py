"""A tiny instruction task on a few image files, and tiny models that can read it, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from tokcom_core.tasks.instructions import Example, InstructionTask, Published, text_only

from .images import write_clip, write_convnext, write_image

COLORS = ("red", "green", "blue")
QUESTIONS = ("which colour", "is it red", "is there a ball of this colour")
ANSWERS = ("red", "dark red", "green", "blue", "yes", "no")
IMAGES = 12

_TOKENIZER_CLASS = "tokenization_utils_tokenizers.TokenizersBackend"
"""Applies ``tokenizer.json`` as it stands, as the pocket checkpoints have it."""


class Pictures(InstructionTask):
    """Three questions about each image, and, if they are ``mixed``, a fourth one without any."""

    name: str = "pictures"
    images: int = IMAGES
    mixed: bool = True

    groups: ClassVar[tuple[str, ...]] = ("questions",)

    def annotation_files(self, root: Path) -> Sequence[Path]:
        return []

    def examples(self, root: Path, part: Published) -> Sequence[Example]:
        found = []
        for i in range(self.images):
            name = f"{part}-{i}"
            asked = (*QUESTIONS, "no picture here") if self.mixed else QUESTIONS
            for number, question in enumerate(asked):
                found.append(
                    Example(
                        sample_id=f"{name}-{number}",
                        media_id=f"{name}.png" if number < 3 else text_only(name),
                        question=question,
                        answer=ANSWERS[(i + number) % len(ANSWERS)],
                        group="questions",
                        caption=f"a {COLORS[i % 3]} ball" if number < 3 else "",
                    )
                )
        return found


def write_pictures(root: Path, images: int = IMAGES) -> Path:
    """The image files of the task."""
    for part in ("train", "test"):
        for i in range(images):
            write_image(root / f"{part}-{i}.png", height=48 + i, width=48)
    return root


def write_language(
    folder: Path,
    config: PreTrainedConfig | None = None,
    words: Sequence[str] = (),
    begins: bool = False,
) -> Path:
    """A language model of random weights that knows the words of the task, or some others.

    Its texts begin with a token of their own, as Gemma's do, if it ``begins`` them.
    """
    texts = ["a ball", "describe the picture", *QUESTIONS, *ANSWERS, "no picture here"]
    known = words or [word for text in texts for word in text.split()]
    every = ("<pad>", "<eos>", "<unk>", "<bos>", *known)
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(every))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    if begins:
        tokenizer.post_processor = TemplateProcessing(
            single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        auto_map={"AutoTokenizer": [_TOKENIZER_CLASS, None]},
    )
    torch.manual_seed(4)
    config = config or Qwen2Config(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    config.vocab_size, config.eos_token_id = len(vocabulary), fast.eos_token_id
    config.bos_token_id = config.pad_token_id = None
    model = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)  # otherwise all answers are alike
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def write_models(root: Path, words: Sequence[str] = ()) -> dict[str, object]:
    """``models`` of a TaiChi: a language model, a CLIP of 3 x 3 and a ConvNeXt of 6 x 6 tokens."""
    return {
        "language": str(write_language(root / "language", words=words)),
        "low": {"name": "clip", "checkpoint": str(write_clip(root / "clip", 24))},
        "high": {
            "name": "convnext",
            "checkpoint": str(write_convnext(root / "convnext", px=48)),
        },
    }
