"""Loads checkpoints in Hugging Face's layout; incomplete ones are refused.

A checkpoint is named by a Hugging Face name, a local folder or ``pocket``. Transformers fills
missing weights with random ones and goes on; here that is an error. Code of a checkpoint is never
run, and ``.bin`` files are read only by PyTorch's restricted unpickler.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.pytorch_utils import Conv1D
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME, cached_file
from transformers.utils.logging import (
    disable_progress_bar,
    enable_progress_bar,
    is_progress_bar_enabled,
)

from .configs import from_pretrained, read_config, unreadable

_SHOWN = 3
_LAYER = re.compile(r"\blayers\.(\d+)\.")


def load_tokenizer(name: str, answers: bool = True) -> PreTrainedTokenizerBase:
    """A language model's tokenizer, with a token to pad with and one that ends an answer.

    Args:
        name: Name of the checkpoint.
        answers: Whether the model is to say answers. BERT only reads: its tokenizer has no token
            that ends an answer.

    Raises:
        ValueError: if there is no tokenizer, it has no fast version, or it has no end-of-sequence
            token although answers are to be said.
    """
    tokenizer = from_pretrained(AutoTokenizer.from_pretrained, name, "language")
    if not tokenizer.is_fast:
        raise ValueError(f"the tokenizer of {name!r} has no fast version (a tokenizer.json)")
    if not answers:
        return tokenizer
    if tokenizer.eos_token is None:
        raise ValueError(f"the tokenizer of {name!r} has no eos_token, which ends an answer")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text, without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def load_processor(loader: type[Any], name: str, kind: str) -> Any:
    """The processor that turns media into the inputs of an encoder.

    Raises:
        ValueError: if the checkpoint has none.
    """
    return from_pretrained(loader.from_pretrained, name, kind)


def load_model(
    loader: type[Any],
    name: str,
    kind: str,
    dtype: torch.dtype,
    layers: int | None = None,
    **options: object,
) -> PreTrainedModel:
    """A model whose weights all come from its checkpoint.

    Tensors of heads that ``loader`` does not build may be left over; weights that are tied to
    others need not be stored.

    Args:
        loader: Class of transformers with ``from_pretrained``.
        name: Name of the checkpoint.
        kind: Kind of the model, see :data:`.KINDS`.
        dtype: Data type of the weights.
        layers: Number of first layers of a language model to load. Its other layers are not read.
            None loads all.
        options: Further arguments of ``from_pretrained``.

    Raises:
        ValueError: if tensors are missing, have another shape or belong to another backbone; the
            message names some.
    """
    if layers is not None:
        options["config"] = _first_layers(name, layers)
    with _without_loading_report():
        model, report = from_pretrained(
            loader.from_pretrained,
            name,
            kind,
            dtype=dtype,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, in one line
            **options,
        )
    wrong = {
        f"lacks tensors of a {type(model).__name__}": report["missing_keys"],
        "has tensors of another shape than its config.json says": [
            key for key, *_ in report["mismatched_keys"]
        ],
        "has tensors that its config.json does not ask for": _of_backbone(
            model, [key for key in report["unexpected_keys"] if not _is_beyond(key, layers)]
        ),
    }
    for what, keys in wrong.items():
        if keys:
            raise ValueError(
                f"{kind} checkpoint {name!r} {what}: {_some(keys)}; take a whole checkpoint"
            )
    return model


def _first_layers(name: str, layers: int) -> PreTrainedConfig:
    """Configuration of a language model's first layers."""
    config = read_config(name, "language")
    decoder = config.get_text_config()
    decoder.num_hidden_layers = min(layers, decoder.num_hidden_layers)
    if getattr(decoder, "layer_types", None) is not None:
        decoder.layer_types = decoder.layer_types[:layers]
    return config


def _is_beyond(key: str, layers: int | None) -> bool:
    """Whether a tensor belongs to a layer after the first ``layers``."""
    number = _LAYER.search(key)
    return layers is not None and number is not None and int(number[1]) >= layers


def load_input_embedding(name: str) -> nn.Embedding:
    """The input embedding of a language model in float32, the only tensor that is read.

    Raises:
        ValueError: if the checkpoint has no such tensor in a safetensors file, the tensor does not
            have the shape that ``config.json`` says, or the embedding does more than look up.
    """
    model = model_without_weights(name)
    embedding = model.get_input_embeddings()
    if type(embedding) is not nn.Embedding:
        raise ValueError(
            f"the input embedding of {name!r} is a {type(embedding).__name__}, which does more "
            f"than look up; take a language model with a plain one, such as a Qwen2"
        )
    weight = _read_tensor(name, _stored_names(model, embedding.weight))
    if weight.shape != embedding.weight.shape:
        raise ValueError(
            f"language checkpoint {name!r} has an input embedding of {tuple(weight.shape)}, "
            f"not {tuple(embedding.weight.shape)} as its config.json says"
        )
    alone: nn.Embedding = nn.Embedding.from_pretrained(weight.float())
    return alone


@cache
def linear_modules(name: str) -> tuple[str, ...]:
    """Paths of the linear modules in the layers of a language model; no weights are read."""
    base = model_without_weights(name).base_model
    layers, kinds = getattr(base, "layers", base), (nn.Linear, Conv1D)
    return tuple(path for path, module in layers.named_modules() if isinstance(module, kinds))


def model_without_weights(name: str) -> PreTrainedModel:
    """A language model as its configuration describes it, on torch's ``meta`` device.

    Raises:
        ValueError: if there is no such checkpoint, or its configuration cannot be read.
    """
    config = read_config(name, "language")
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _stored_names(model: PreTrainedModel, weight: Tensor) -> list[str]:
    """Names that a parameter may have in a file: its own, also without prefix, or a tied one's."""
    (name,) = (key for key, parameter in model.named_parameters() if parameter is weight)
    tied = [key for key, source in model.all_tied_weights_keys.items() if source == name]
    return [name, name.removeprefix(f"{model.base_model_prefix}."), *tied]


def _read_tensor(name: str, keys: list[str]) -> Tensor:
    """The first of ``keys`` that a checkpoint's safetensors hold, in one file or in shards."""
    index = _file(name, SAFE_WEIGHTS_INDEX_NAME)
    try:
        if index is not None:
            with open(index, encoding="utf-8") as opened:
                shard_of: dict[str, str] = json.load(opened)["weight_map"]
            shard = next((shard_of[key] for key in keys if key in shard_of), None)
            file = None if shard is None else _file(name, shard)
        else:
            file = _file(name, SAFE_WEIGHTS_NAME)
        if file is not None:
            with safe_open(file, framework="pt") as tensors:
                held = set(tensors.keys())
                for key in keys:
                    if key in held:
                        tensor: Tensor = tensors.get_tensor(key)
                        return tensor
    except (SafetensorError, KeyError, ValueError) as error:
        raise unreadable(name, "language", error) from None
    raise ValueError(
        f"language checkpoint {name!r} has no {keys[0]} in safetensors files; "
        f"save it with save_pretrained of transformers, which writes them"
    )


def _file(name: str, file: str) -> str | None:
    path: str | None = from_pretrained(
        cached_file, name, "language", filename=file, _raise_exceptions_for_missing_entries=False
    )
    return path


def _of_backbone(model: PreTrainedModel, keys: Collection[str]) -> list[str]:
    """Those of ``keys`` that belong to parts of the backbone, and not to a head left over."""
    prefix = f"{model.base_model_prefix}."
    parts = {part for part, _ in model.base_model.named_children()}
    return [key for key in keys if key.removeprefix(prefix).partition(".")[0] in parts]


def _some(keys: Collection[str]) -> str:
    shown = ", ".join(sorted(keys)[:_SHOWN])
    return shown if len(keys) <= _SHOWN else f"{shown} and {len(keys) - _SHOWN} more tensors"


@contextmanager
def _without_loading_report() -> Iterator[None]:
    """Keeps transformers' report of tensors off the log, and its progress bar off the screen.

    The report is not needed: unused heads are expected, and this module raises the errors.
    """
    logger = logging.getLogger("transformers.modeling_utils")
    shown = is_progress_bar_enabled()
    logger.addFilter(_is_no_report)
    disable_progress_bar()
    try:
        yield
    finally:
        logger.removeFilter(_is_no_report)
        if shown:
            enable_progress_bar()


def _is_no_report(record: logging.LogRecord) -> bool:
    return "LOAD REPORT" not in record.getMessage()
