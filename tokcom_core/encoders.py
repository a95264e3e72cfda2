"""Frozen encoders E_m of eqs. (1) and (2): the same code for real checkpoints and pocket ones.

Text is the foundation model's own input embeddings, audio is AST, vision is ViViT. Each is named
by a Hugging Face name, a local folder, or ``pocket`` for the small one in this package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import (
    ASTFeatureExtractor,
    ASTModel,
    VivitImageProcessor,
    VivitModel,
)

from .checkpoints import (
    load_input_embedding,
    load_model,
    load_processor,
    load_tokenizer,
    read_config,
)
from .datasets import layout, media


def pick_device(device: str) -> torch.device:
    """``auto`` is a GPU where there is one; anything else is torch's own name."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.device(device)
    except RuntimeError:
        raise ValueError(f"no device {device!r}; take auto, cpu, cuda or cuda:N") from None


def pick_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the GPU has it, else float32."""
    fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if fast else torch.float32


class MediaEncoder(Protocol):
    """A frozen encoder of clips.

    ``length`` tokens of ``width`` features a clip, the first ``summary_tokens`` of which (CLS and
    the like) stand for the whole clip and the others for a place or a time of it.
    """

    name: str
    length: int
    width: int
    summary_tokens: int

    def read(self, root: Path, video_id: str) -> NDArray[np.generic]:
        """Reads what the encoder needs of one clip; ValueError if it is damaged."""
        ...

    def encode(self, clips: Sequence[NDArray[np.generic]]) -> Tensor:
        """Eq. (2): ``[B, length, width]``, float32 on the CPU."""
        ...


class AudioEncoder:
    """AST: a spectrogram transformer over 16 kHz mono sound."""

    summary_tokens = 2  # CLS and distillation

    def __init__(self, name: str, device: str = "auto") -> None:
        self.name = name
        self._device = pick_device(device)
        self._processor = load_processor(ASTFeatureExtractor, name, "audio")
        model = load_model(ASTModel, name, "audio", pick_dtype(self._device))
        self.width = int(model.config.hidden_size)
        self.length = int(model.embeddings.position_embeddings.shape[1])
        self._model = _freeze(model, self._device)

    def read(self, root: Path, video_id: str) -> NDArray[np.float32]:
        return media.read_sound(layout.sound_file(root, video_id))

    @torch.no_grad()
    def encode(self, clips: Sequence[NDArray[np.generic]]) -> Tensor:
        values = self._processor(
            list(clips), sampling_rate=media.SAMPLE_RATE_HZ, return_tensors="pt"
        )["input_values"]
        hidden: Tensor = self._model(
            values.to(self._device, pick_dtype(self._device))
        ).last_hidden_state
        return hidden.float().cpu()


class VisionEncoder:
    """ViViT: tubelets of a clip's frames."""

    summary_tokens = 1  # CLS

    def __init__(self, name: str, device: str = "auto") -> None:
        self.name = name
        self._device = pick_device(device)
        self._processor = load_processor(VivitImageProcessor, name, "vision")
        model = load_model(
            VivitModel, name, "vision", pick_dtype(self._device), add_pooling_layer=False
        )
        self._frames = int(model.config.num_frames)
        self.width = int(model.config.hidden_size)
        self.length = int(model.embeddings.position_embeddings.shape[1])
        self._model = _freeze(model, self._device)

    def read(self, root: Path, video_id: str) -> NDArray[np.uint8]:
        return media.read_frames(layout.frames_folder(root, video_id), self._frames)

    @torch.no_grad()
    def encode(self, clips: Sequence[NDArray[np.generic]]) -> Tensor:
        values = self._processor([list(clip) for clip in clips], return_tensors="pt")[
            "pixel_values"
        ]
        hidden: Tensor = self._model(
            values.to(self._device, pick_dtype(self._device))
        ).last_hidden_state
        return hidden.float().cpu()


class TextEncoder(nn.Module):
    """Eq. (1): the foundation model's tokenizer and frozen input embeddings."""

    def __init__(self, name: str, device: str = "auto") -> None:
        super().__init__()
        self.name = name
        self.tokenizer = load_tokenizer(name)
        embedding = load_input_embedding(name)
        self.width = embedding.embedding_dim
        self._device = pick_device(device)
        self.embedding = _freeze(embedding, self._device)

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special tokens."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def forward(self, ids: Tensor) -> Tensor:
        """Y_T ``[B, s_T, d_T]`` of token ids ``[B, s_T]``."""
        embedded: Tensor = self.embedding(ids.to(self._device))
        return embedded


def _freeze(module: nn.Module, device: torch.device) -> nn.Module:
    return module.to(device).eval().requires_grad_(False)


@dataclass(frozen=True)
class EncoderShape:
    """Size of an encoder's output, read from its configuration alone.

    Attributes:
        length: tokens of a clip, summary tokens included.
        width: features of a token, d_m.
        summary_tokens: how many at the front stand for the whole clip.
        parameters: weights that a clip's tokens meet, estimated from the layers' sizes.
    """

    length: int
    width: int
    summary_tokens: int
    parameters: int

    @property
    def clip_gflop(self) -> float:
        """Two operations a weight and token."""
        return 2e-9 * self.parameters * self.length


def encoder_shape(name: str, kind: Literal["audio", "vision"]) -> EncoderShape:
    """The shape of an AST (``audio``) or ViViT (``vision``) checkpoint.

    Raises:
        ValueError: if there is no such checkpoint, or it is of another architecture.
    """
    config = read_config(name, kind)
    expected = "audio-spectrogram-transformer" if kind == "audio" else "vivit"
    if config.model_type != expected:
        raise ValueError(f"{kind} encoder {name!r} is a {config.model_type}, not a {expected}")
    if kind == "audio":
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        patches = bands * ((config.max_length - config.patch_size) // config.time_stride + 1)
        summary = AudioEncoder.summary_tokens
    else:
        size = config.image_size
        height, width = (size, size) if isinstance(size, int) else size
        steps, rows, columns = config.tubelet_size
        patches = (config.num_frames // steps) * (height // rows) * (width // columns)
        summary = VisionEncoder.summary_tokens
    layer = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    return EncoderShape(
        patches + summary, config.hidden_size, summary, config.num_hidden_layers * layer
    )


def token_width(name: str) -> int:
    """d_T: features of a token of the foundation model ``name``."""
    return int(read_config(name, "language").hidden_size)
