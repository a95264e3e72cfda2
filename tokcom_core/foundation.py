"""The foundation model at the base station with its LoRA adapter, eqs. (12) to (16).

Shapes: ``B`` batch, ``S`` tokens of the prompt, ``D`` features (d_T), ``A`` tokens of the answer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from .answers import IGNORED, AnswerLosses, answer_losses, padded
from .checkpoints.loading import load_model, load_tokenizer, model_without_weights, text_ids
from .devices import pick_device, pick_dtype
from .storage import check_saved
from .weights import matrix_weights


@dataclass(frozen=True)
class LoraShape:
    """The low-rank adapter of eq. (13), by default on the query and value projections."""

    rank: int = 4
    alpha: float = 16
    dropout: float = 0.1
    modules: tuple[str, ...] = ("q_proj", "v_proj")

    def peft_config(self) -> LoraConfig:
        """PEFT's own config."""
        return LoraConfig(
            task_type="CAUSAL_LM",
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            target_modules=list(self.modules),
        )


_PAPERS = LoraShape()


def concatenate(
    streams: Sequence[tuple[Tensor, Tensor]], trim: bool = False
) -> tuple[Tensor, Tensor]:
    """Joins streams in their order and moves the padding to the left, eq. (12).

    Args:
        streams: Tokens ``[B, s, D]`` and valid ``[B, s]`` of each stream.
        trim: Whether to cut off the padding that all samples have, see :func:`padding_first`.

    Returns:
        Tokens ``[B, S, D]`` and valid ``[B, S]``. The order of the valid tokens is kept, and every
        prompt ends at the last position, so that its answer follows directly.
    """
    tokens, valid = (torch.cat(parts, dim=1) for parts in zip(*streams, strict=True))
    order = padding_first(valid, trim)
    valid = valid.gather(1, order)
    tokens = tokens.gather(1, order[..., None].expand(*order.shape, tokens.shape[2]))
    return tokens * valid[..., None], valid


def padding_first(valid: Tensor, trim: bool = False) -> Tensor:
    """Places ``[B, S']`` that move the padding of ``valid`` ``[B, S]`` to the left, in order.

    S' is S or, with ``trim``, the length of the longest sample. In a mixture of tasks that is much
    less, since samples with long texts have no image.
    """
    order = valid.int().argsort(dim=1, stable=True)
    counts: list[int] = valid.sum(1).tolist() if trim else [valid.shape[1]]
    return order[:, -max([1, *counts]) :]


def positions_of(valid: Tensor) -> Tensor:
    """Places of tokens in their text, int64 ``[B, S]``; padding takes none."""
    return (valid.long().cumsum(1) - 1).clamp(min=0)


@cache
def applied_weights(name: str, lora: LoraShape | None = _PAPERS) -> tuple[int, int]:
    """Counts the weights of a :class:`FoundationModel` that multiply a token.

    The counts follow from the model's configuration; no weights are loaded. The input embedding
    does not count, because it is only looked up. The head, which may be the same matrix, counts
    apart, because it is applied only where an answer is predicted.

    Returns:
        Number of weights of the layers with the adapter, and number of weights of the head.
    """
    model = model_without_weights(name)
    if lora is not None:
        with torch.device("meta"):
            inject_adapter_in_model(lora.peft_config(), model)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    apart = {id(p) for module in (embedding, head) for p in module.parameters()}
    layers = (p for p in model.parameters() if id(p) not in apart)
    return matrix_weights(layers), matrix_weights(head.parameters())


class FoundationModel(nn.Module):
    """A causal language model of Hugging Face with frozen weights W_0 and an adapter B A^T.

    Args:
        name: Hugging Face name, local folder or ``pocket``.
        lora: Shape of the adapter. None leaves it out, which suits any causal language model.
        device: Torch device or ``auto``.
    """

    def __init__(self, name: str, lora: LoraShape | None = _PAPERS, device: str = "auto") -> None:
        super().__init__()
        self.device = pick_device(device)
        self.tokenizer = load_tokenizer(name)
        base = load_model(
            AutoModelForCausalLM,
            name,
            "language",
            pick_dtype(self.device),
            generation_config=GenerationConfig(),  # not the checkpoint's: answers are plain greedy
        )
        base.requires_grad_(False)
        adapted = base if lora is None else get_peft_model(base, lora.peft_config())
        self.model: PeftModel | PreTrainedModel = adapted.to(self.device)
        self.embedding: nn.Embedding = self.model.get_input_embeddings()

    @property
    def token_width(self) -> int:
        """Features of a token, d_T."""
        return int(self.embedding.embedding_dim)

    @property
    def end(self) -> int:
        """Token that ends an answer."""
        return int(self.tokenizer.eos_token_id)

    @property
    def embedding_rms(self) -> float:
        """Root mean square of the input embeddings."""
        return float(self.embedding.weight.float().square().mean().sqrt())

    def answer_ids(self, answers: Sequence[str]) -> Tensor:
        """Token ids ``[B, A]`` of the answers with end-of-sequence, padded with IGNORED."""
        ids = (text_ids(self.tokenizer, answer) for answer in answers)
        return padded([*row, self.end] for row in ids).to(self.device)

    def answer_losses(self, prompt: Tensor, valid: Tensor, answers: Tensor) -> AnswerLosses:
        """Eq. (14) for answers ``[B, A]`` after prompts ``[B, S, D]``."""
        return answer_losses(self.answer_logits(prompt, valid, answers), answers)

    def answer_logits(self, prompt: Tensor, valid: Tensor, answers: Tensor) -> Tensor:
        """Logits ``[B, A, vocabulary]`` at the positions that predict the answers."""
        known = answers[:, :-1]
        embedded = self.embedding(known.clamp(min=0)).to(prompt.dtype)
        inputs = torch.cat([prompt, embedded], dim=1).to(self.model.dtype)
        mask = torch.cat([valid, known != IGNORED], dim=1)
        logits: Tensor = self.model(
            inputs_embeds=inputs,
            attention_mask=mask.long(),
            position_ids=positions_of(mask),
            logits_to_keep=answers.shape[1],
            use_cache=False,
        ).logits
        return logits.float()

    @torch.no_grad()
    def generate(
        self, prompt: Tensor, valid: Tensor, max_new_tokens: int, ends: Collection[int] = ()
    ) -> Tensor:
        """Greedy autoregressive answers ``[B, <= max_new_tokens]``, padded after the end.

        The checkpoint's generation settings are ignored. An answer ends with the tokenizer's
        end-of-sequence, as in training, or with one of the tokens ``ends``.
        """
        generated: Tensor = self.model.generate(
            inputs_embeds=prompt.to(self.model.dtype),
            attention_mask=valid.long(),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            pad_token_id=self.tokenizer.pad_token_id,
            eos_token_id=sorted({self.end, *ends}),
        )
        return generated

    def decode(self, generated: Tensor) -> list[str]:
        """Texts of generated token ids."""
        texts: list[str] = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def save_adapter(self, folder: Path) -> None:
        """Saves the adapter in PEFT's own format."""
        # unless told that no embedding is saved, PEFT asks the Hub about the base model
        self.model.save_pretrained(str(folder), save_embedding_layers=False)

    def load_adapter(self, folder: Path) -> None:
        """Loads what :meth:`save_adapter` saved.

        Raises:
            ValueError: if the adapter belongs to other layers.
        """
        saved = load_file(folder / "adapter_model.safetensors")
        check_saved(saved, self.adapter_state())
        set_peft_model_state_dict(self.model, saved)

    def adapter_state(self) -> dict[str, Tensor]:
        """The adapter's tensors by name."""
        state: dict[str, Tensor] = get_peft_model_state_dict(self.model)
        return state
