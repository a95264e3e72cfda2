"""A causal language model of Hugging Face, cut between its layers, eqs. (12) and (15).

Shapes: ``B`` batch, ``S`` tokens, ``D`` features of a token, ``V`` words of the vocabulary.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import inject_adapter_in_model
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, DynamicCache, GenerationConfig
from transformers.masking_utils import create_masks_for_generate

from ...checkpoints.loading import load_model
from ...devices import pick_device, pick_dtype
from ...errors import first_line
from ...foundation import LoraShape, positions_of

_CHECKED_TOKENS = 8
_TOLERANCE = 0.01
_STEP_TOLERANCE = 0.05
"""Largest tolerated difference of logits, relative to the largest logit: for all tokens at once,
and for a token after others, where bfloat16 rounds differently."""


@dataclass
class Memory:
    """Keys and values of the tokens that some layers have seen, for generating.

    Attributes:
        first: Number of the first of the layers. It comes first in the cache, as Hugging Face
            sizes its masks by the cache's first layer.
        valid: Which of the tokens may be attended to, bool ``[B, S]``; None before the first.
    """

    first: int
    valid: Tensor | None = None
    cache: DynamicCache = field(init=False)

    def __post_init__(self) -> None:
        self.cache = _CacheFrom(self.first)

    def keep(self, rows: Tensor) -> None:
        """Keeps only some samples of the batch."""
        assert self.valid is not None
        self.valid = self.valid[rows]
        self.cache.batch_select_indices(rows)


class _CacheFrom(DynamicCache):  # type: ignore[misc]
    """A cache of the layers from ``first`` on."""

    def __init__(self, first: int) -> None:
        super().__init__()
        self._first = first

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        kept: tuple[Tensor, Tensor] = super().update(
            keys, values, layer_idx - self._first, *args, **kwargs
        )
        return kept


class LanguageLayers(nn.Module):
    """Input embedding and layers of a causal language model, and its head if all layers are kept.

    Any decoder will do that consists of an embedding, ``layers`` with ``rotary_emb``, ``norm`` and
    a head, with nothing between them, such as Gemma, Llama, Mistral, Phi-3 or Qwen. What the
    embedding gives enters the first layer: Gemma scales it by the square root of its width within
    its own embedding module, so that nothing else has to know. If the head is kept, the logits are
    compared with those of Hugging Face's whole model. Granite and Cohere, which also scale
    elsewhere, are refused by that.

    Args:
        name: Hugging Face name, local folder or a pocket checkpoint.
        device: Torch device or ``auto``.
        layers: Number of layers to load and keep, from the first one; None keeps all of them and
            the head.
        lora: Low-rank adapter on the layers that are kept; None for none.
        single_precision: Whether weights are float32 on every device, as training all of them
            needs.

    Raises:
        ValueError: for a model of another structure, or fewer layers than are asked for.
    """

    def __init__(
        self,
        name: str,
        device: str = "auto",
        layers: int | None = None,
        lora: LoraShape | None = None,
        single_precision: bool = False,
    ) -> None:
        super().__init__()
        self.device = pick_device(device)
        dtype = torch.float32 if single_precision else pick_dtype(self.device)
        if layers is None:
            own = GenerationConfig()  # the checkpoint's own may be invalid
            whole = load_model(AutoModelForCausalLM, name, "language", dtype, generation_config=own)
        else:  # at least one layer, to see what layers call their cache
            whole = load_model(AutoModel, name, "language", dtype, layers=max(1, layers))
        base = parts_of(name, whole)
        self._config = whole.config.get_text_config()
        self.embedding: nn.Embedding = whole.get_input_embeddings()
        self._cache_keyword = _cache_keyword(base.layers[0])
        self.layers = nn.ModuleList(list(base.layers)[:layers])
        self.rotary = base.rotary_emb
        if layers is None:
            self.norm = base.norm
            self.head = whole.get_output_embeddings()
        self.requires_grad_(False)
        if lora is not None and len(self.layers):
            inject_adapter_in_model(lora.peft_config(), self.layers)
            for parameter in self.adapter():
                parameter.data = parameter.data.float()  # to learn, whatever the model's precision
        self.to(self.device)
        if layers is None:
            self._check(name, whole)

    @torch.no_grad()
    def _check(self, name: str, whole: nn.Module) -> None:
        """Refuses a model whose logits change when it is cut, at once or step by step."""
        ids = torch.arange(_CHECKED_TOKENS, device=self.device)[None]
        valid = torch.ones_like(ids, dtype=torch.bool)
        whole.eval()
        expected = whole(input_ids=ids).logits.float()
        inputs = self.embed(ids), valid, positions_of(valid)
        steps = zip(*(own.split([_CHECKED_TOKENS - 1, 1], dim=1) for own in inputs), strict=True)
        memory = Memory(first=0)
        try:
            at_once = self.logits(self(*inputs))
            in_steps = self.logits(torch.cat([self(*own, memory=memory) for own in steps], dim=1))
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise
        except (TypeError, KeyError, AttributeError, RuntimeError) as error:
            raise _not_cut(name, whole, first_line(error)) from None
        largest = float(expected.abs().max())
        if not torch.allclose(at_once, expected, rtol=0, atol=_TOLERANCE * largest):
            raise _not_cut(name, whole, "in pieces its logits are others")
        if not torch.allclose(in_steps, expected, rtol=0, atol=_STEP_TOLERANCE * largest):
            raise _not_cut(name, whole, "its layers do not remember the tokens that came before")

    @property
    def width(self) -> int:
        """Features of a token, D."""
        return int(self._config.hidden_size)

    def embed(self, ids: Tensor) -> Tensor:
        """What enters the first layer, ``[B, S, D]``, of token ids ``[B, S]``."""
        embedded: Tensor = self.embedding(ids)
        return embedded

    def forward(
        self,
        states: Tensor,
        valid: Tensor,
        positions: Tensor,
        first: int = 0,
        last: int | None = None,
        memory: Memory | None = None,
    ) -> Tensor:
        """States ``[B, S, D]`` after the layers from ``first`` up to, not including, ``last``.

        Args:
            states: States before these layers, ``[B, S, D]``.
            valid: Which of the tokens may be attended to, bool ``[B, S]``.
            positions: Places of the tokens in their text, int64 ``[B, S]``.
            first, last: Layers; all by default.
            memory: Tokens that the layers have seen before; these are added to it.
        """
        layers = list(enumerate(self.layers))[first:last]
        if not layers:
            return states
        states = states.to(self.embedding.weight.dtype)
        cache = None
        if memory is not None:
            seen = [] if memory.valid is None else [memory.valid]
            memory.valid = valid = torch.cat([*seen, valid], dim=1)
            cache = memory.cache
        masks = create_masks_for_generate(self._config, states, valid, cache)
        rotation = self.rotary(states, positions)
        for number, layer in layers:
            mask = masks[self._config.layer_types[number]] if isinstance(masks, dict) else masks
            states = layer(
                states,
                attention_mask=mask,
                position_ids=positions,
                position_embeddings=rotation,
                **{self._cache_keyword: cache},
            )
        return states

    def logits(self, states: Tensor) -> Tensor:
        """Logits ``[..., V]`` of the words that follow, float32, from the last layer's states."""
        logits: Tensor = self.head(self.norm(states)).float()
        cap = getattr(self._config, "final_logit_softcapping", None)  # Gemma 2
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def adapter(self, first: int = 0) -> list[nn.Parameter]:
        """Parameters of the low-rank adapter on the layers from ``first`` on."""
        layers = list(self.layers)[first:]
        return [p for layer in layers for name, p in layer.named_parameters() if "lora_" in name]

    def weights(self) -> list[nn.Parameter]:
        """All parameters except the adapter's."""
        return [p for name, p in self.named_parameters() if "lora_" not in name]


def parts_of(name: str, whole: nn.Module) -> Any:
    """The base model of a causal language model, which holds the parts that it is cut into.

    Raises:
        ValueError: for a model of another structure.
    """
    base = whole.base_model
    if not all(hasattr(base, part) for part in ("layers", "rotary_emb", "norm")):
        raise _not_cut(name, whole, "its base model has no layers, rotary_emb and norm")
    return base


def _not_cut(name: str, whole: nn.Module, reason: str) -> ValueError:
    return ValueError(
        f"language model {name!r}, a {type(whole).__name__}, cannot be cut between its layers: "
        f"{reason}; take a Qwen2, a Gemma or one built like them"
    )


def _cache_keyword(layer: nn.Module) -> str:
    """What a decoder layer calls its cache; ``past_key_values`` before transformers 5.24."""
    return "cache" if "cache" in inspect.signature(layer.forward).parameters else "past_key_values"
