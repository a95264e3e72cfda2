"""Layers of the DeepSC family: semantic encoders, channel codes, the layer-wise transformer.

Shapes: ``B`` batch, ``S`` tokens or words, ``V`` vectors that are sent, ``D`` features, ``R`` real
numbers of a vector, ``T`` tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...datasets.samples import Samples
from ...tasks.base import Task
from .config import ChannelCode, TransformerSize


def task_names(task: Task) -> tuple[str, ...]:
    """Names of the tasks that a mixture consists of; a single task's own name."""
    return tuple(own.name for own in getattr(task, "tasks", (task,)))


def task_indices(samples: Samples, tasks: tuple[str, ...]) -> Tensor:
    """Number ``[B]`` of each sample's task, which both ends know; 0 if there is only one task."""
    if len(tasks) == 1:
        return torch.zeros(len(samples), dtype=torch.long)
    return torch.tensor([tasks.index(name) for name in samples["task"]])


def by_task(
    run: Callable[..., tuple[Tensor, ...]], models: int, task: Tensor, *inputs: Tensor
) -> tuple[Tensor, ...]:
    """Runs each sample through the model of its task, or all of them through the single one.

    Args:
        run: Function of the model's number, the tasks ``[B]`` as that model counts them, and the
            inputs ``[B, ...]``; returns outputs ``[B, ...]``.
        models: Number of models: 1, or one for each task.
        task: Number of each sample's task.
        inputs: Inputs of all samples.
    """
    if models == 1:
        return run(0, task, *inputs)
    rows = [(task == number).nonzero()[:, 0] for number in range(models)]
    parts = [
        run(number, torch.zeros_like(own), *(values[own] for values in inputs))
        for number, own in enumerate(rows)
        if len(own)
    ]
    back = torch.cat(rows).argsort()
    return tuple(torch.cat(outputs)[back] for outputs in zip(*parts, strict=True))


def encoder_layers(size: TransformerSize, dropout: float = 0.0) -> nn.TransformerEncoder:
    """A stack of self-attention layers.

    Transmitters have no dropout: a device draws no random numbers while it sends.
    """
    layer = nn.TransformerEncoderLayer(
        size.width, size.heads, size.feedforward, dropout, **_style(size)
    )
    stack = nn.TransformerEncoder(layer, size.depth, _last_norm(size), enable_nested_tensor=False)
    _redraw(stack)
    return stack


def decoder_layers(size: TransformerSize, dropout: float) -> nn.TransformerDecoder:
    """A stack of layers with self-attention and cross-attention."""
    layer = nn.TransformerDecoderLayer(
        size.width, size.heads, size.feedforward, dropout, **_style(size)
    )
    stack = nn.TransformerDecoder(layer, size.depth, _last_norm(size))
    _redraw(stack)
    return stack


def _style(size: TransformerSize) -> dict[str, Any]:
    first = size.norm == "first"
    return {"activation": "gelu" if first else "relu", "batch_first": True, "norm_first": first}


def _last_norm(size: TransformerSize) -> nn.LayerNorm | None:
    return nn.LayerNorm(size.width) if size.norm == "first" else None


def _redraw(stack: nn.Module) -> None:
    """Draws the weights of every layer separately, as torch makes all layers copies of one."""
    for parameter in stack.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def learned_tokens(*shape: int) -> nn.Parameter:
    """Learned positions or tokens, which start small compared with what attention adds to them.

    With unit variance, U-DeepSC learns MiniCLEVR's questions more slowly.
    """
    return nn.Parameter(0.3 * torch.randn(*shape))


class SemanticEncoder(nn.Module):
    """A transformer over embedded tokens with learned positions.

    T- and U-DeepSC send only the first ``vectors`` outputs. In the published code, these are a
    class token and the first tokens behind it, and a learned token of the task is among the inputs.
    Here they are learned tokens of each task, placed in front of the others. Without ``vectors``
    every token is sent.

    Args:
        embedding: Module that embeds tokens, given as one tensor or several, as ``[B, S, D]``.
        size: Size of the transformer.
        length: Maximum number of tokens S.
        vectors: Number of vectors V that are sent; None for every token.
        tasks: Number of tasks T.
    """

    def __init__(
        self,
        embedding: nn.Module,
        size: TransformerSize,
        length: int,
        vectors: int | None,
        tasks: int,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = learned_tokens(length, size.width)
        self.summaries = None if vectors is None else learned_tokens(tasks, vectors, size.width)
        self.layers = encoder_layers(size)

    def forward(
        self, tokens: Sequence[Tensor], valid: Tensor, task: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Vectors ``[B, V, D]`` and which are valid ``[B, V]``."""
        inputs = self.embedding(*tokens) + self.positions[: valid.shape[1]]
        if self.summaries is None:
            return self.layers(inputs, src_key_padding_mask=~valid), valid
        summaries = self.summaries[task]
        count = summaries.shape[1]
        inputs = torch.cat([summaries, inputs], 1)
        seen = F.pad(valid, (count, 0), value=True)
        vectors: Tensor = self.layers(inputs, src_key_padding_mask=~seen)[:, :count]
        return vectors, seen[:, :count]


def channel_encoder(width: int, code: ChannelCode) -> nn.Module:
    """Features ``[..., D]`` to real numbers ``[..., R]``."""
    if code.hidden is None:
        return nn.Linear(width, code.reals)
    return nn.Sequential(
        nn.Linear(width, code.hidden), nn.ReLU(), nn.Linear(code.hidden, code.reals)
    )


class ChannelDecoder(nn.Module):
    """Real numbers ``[..., R]`` to features ``[..., D]``.

    A linear layer, or DeepSC's: a linear layer, a residual block of ReLUs, and a layer norm.
    """

    def __init__(self, width: int, code: ChannelCode) -> None:
        super().__init__()
        self.inner = nn.Linear(code.reals, width)
        self.block = (
            None
            if code.decoder_hidden is None
            else nn.Sequential(
                nn.ReLU(),
                nn.Linear(width, code.decoder_hidden),
                nn.ReLU(),
                nn.Linear(code.decoder_hidden, width),
            )
        )
        self.norm = nn.Identity() if self.block is None else nn.LayerNorm(width)

    def forward(self, received: Tensor) -> Tensor:
        features: Tensor = self.inner(received)
        if self.block is not None:
            features = features + self.block(features)
        normed: Tensor = self.norm(features)
        return normed


class LayerwiseTransformer(nn.Module):
    """DeepSC-VQA's fusion: every decoder layer attends to the encoder layer of the same depth.

    Text runs through the encoder, the image through the decoder. Layer l of the image attends to
    layer l of the text, while in an ordinary transformer all layers attend to the text's last one.
    """

    def __init__(self, size: TransformerSize, dropout: float) -> None:
        super().__init__()
        self.text = encoder_layers(size, dropout).layers
        self.image = decoder_layers(size, dropout).layers

    def forward(
        self, text: Tensor, image: Tensor, text_valid: Tensor, image_valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Fused tokens of the text and of the image, in the shapes of the inputs."""
        for text_layer, image_layer in zip(self.text, self.image, strict=True):
            text = text_layer(text, src_key_padding_mask=~text_valid)
            image = image_layer(
                image,
                text,
                tgt_key_padding_mask=~image_valid,
                memory_key_padding_mask=~text_valid,
            )
        return text, image


class AttentivePooling(nn.Module):
    """Mean ``[B, D]`` of tokens ``[B, S, D]``, weighted by a learned softmax of the valid ones."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1, bias=False)
        )

    @staticmethod
    def macs(width: int, tokens: int) -> int:
        """Multiplications by a weight for so many tokens."""
        return tokens * width * (width + 1)

    def forward(self, tokens: Tensor, valid: Tensor) -> Tensor:
        scores = self.weight(tokens).squeeze(-1).masked_fill(~valid, -1e9)
        pooled: Tensor = torch.einsum("bs,bsd->bd", scores.softmax(1), tokens)
        return pooled
