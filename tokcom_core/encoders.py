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
    PretrainedConfig,
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

ENCODER_BATCH = 32
"""Windows that go through an encoder at once."""

AudioSpan = Literal["first", "whole"]
Crop = Literal["none", "center"]

_FRAME_SAMPLES, _HOP_SAMPLES = 400, 160  # of AST's filter bank: 25 ms every 10 ms


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

    It makes ``length`` tokens of ``width`` features of each window of a clip (a sound may have
    several, pictures have one), the first ``summary_tokens`` of which (CLS and the like) stand for
    the whole window and the others for a place or a time of it.
    """

    name: str
    length: int
    width: int
    summary_tokens: int

    def read(self, root: Path, video_id: str) -> Tensor:
        """What the model takes of one clip, ``[windows, ...]``; ValueError if there is no such."""
        ...

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        """Eq. (2): each clip's tokens ``[windows, length, width]``, float32 on the CPU."""
        ...


class AudioEncoder:
    """AST: a spectrogram transformer over 16 kHz mono sound.

    Args:
        name: of the checkpoint.
        device: torch device or ``auto``.
        span: ``first`` hears as much as fits into one spectrogram (10.24 s), ``whole`` all of the
            sound in consecutive ones.
    """

    summary_tokens = 2  # CLS and distillation

    def __init__(self, name: str, device: str = "auto", span: AudioSpan = "first") -> None:
        self.name = name
        self._span = span
        self._device = pick_device(device)
        self._processor = load_processor(ASTFeatureExtractor, name, "audio")
        model = load_model(ASTModel, name, "audio", pick_dtype(self._device))
        self.width = int(model.config.hidden_size)
        self.length = int(model.embeddings.position_embeddings.shape[1])
        self._model = _freeze(model, self._device)

    def read(self, root: Path, video_id: str) -> Tensor:
        return self.preprocess(media.read_sound(layout.sound_file(root, video_id)))

    def preprocess(self, sound: NDArray[np.float32]) -> Tensor:
        """Spectrograms ``[windows, frames, mel bins]`` of sound ``[samples]``.

        The last window may be filled up, but none is without a single frame of its own.

        Raises:
            ValueError: for a sound shorter than one frame.
        """
        frames = 1 + (len(sound) - _FRAME_SAMPLES) // _HOP_SAMPLES
        if frames < 1:
            raise ValueError(
                f"{len(sound)} samples are too short for a spectrogram; it takes {_FRAME_SAMPLES}"
            )
        step = self._processor.max_length * _HOP_SAMPLES
        needed = step + _FRAME_SAMPLES - _HOP_SAMPLES
        windows = 1 if self._span == "first" else -(-frames // self._processor.max_length)
        values: Tensor = self._processor(
            [sound[i * step :][:needed] for i in range(windows)],
            sampling_rate=layout.SAMPLE_RATE_HZ,
            return_tensors="pt",
        )["input_values"]
        return values

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        return _encode(self._model, clips, self._device)


class VisionEncoder:
    """ViViT: tubelets of a clip's frames.

    Args:
        name: of the checkpoint.
        device: torch device or ``auto``.
        crop: ``none`` shows the whole picture, squashed to the encoder's size; ``center`` leaves
            the squashed picture to the checkpoint's own processor (which may cut its edges off).
        take: which frames it sees, see :func:`media.read_frames`.

    Raises:
        ValueError: if the processor makes pictures that the model does not take.
    """

    summary_tokens = 1  # CLS

    def __init__(
        self, name: str, device: str = "auto", crop: Crop = "none", take: media.Take = "even"
    ) -> None:
        self.name = name
        self._take: media.Take = take
        self._steps = {"do_resize": False, "do_center_crop": False} if crop == "none" else {}
        self._device = pick_device(device)
        self._processor = load_processor(VivitImageProcessor, name, "vision")
        model = load_model(
            VivitModel, name, "vision", pick_dtype(self._device), add_pooling_layer=False
        )
        self._frames = int(model.config.num_frames)
        self._size = _picture_size(model.config)
        self.width = int(model.config.hidden_size)
        self.length = int(model.embeddings.position_embeddings.shape[1])
        self._model = _freeze(model, self._device)
        self._check_size()

    def read(self, root: Path, video_id: str) -> Tensor:
        folder = layout.frames_folder(root, video_id)
        return self.preprocess(media.read_frames(folder, self._frames, self._take, self._size))

    def preprocess(self, frames: NDArray[np.uint8]) -> Tensor:
        """Pixels ``[1, frames, 3, height, width]`` of pictures ``[frames, height, width, 3]``."""
        values: Tensor = self._processor([list(frames)], return_tensors="pt", **self._steps)[
            "pixel_values"
        ]
        return values

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        return _encode(self._model, clips, self._device)

    def _check_size(self) -> None:
        made = tuple(self.preprocess(np.zeros((1, *self._size, 3), np.uint8)).shape[-2:])
        if made != self._size:
            raise ValueError(
                f"the processor of {self.name} makes pictures of {made[0]}x{made[1]}, its model "
                f"takes {self._size[0]}x{self._size[1]}; take models.vision_crop: none"
            )


@torch.no_grad()
def _encode(model: nn.Module, clips: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """Tokens ``[windows, length, width]`` of each clip, whose windows go through in batches."""
    tokens = [
        model(windows.to(device, pick_dtype(device))).last_hidden_state.float().cpu()
        for windows in torch.cat(list(clips)).split(ENCODER_BATCH)
    ]
    return list(torch.cat(tokens).split([len(clip) for clip in clips]))


def _picture_size(config: PretrainedConfig) -> tuple[int, int]:
    """Height and width of the pictures that a ViViT takes."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


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
        length: tokens of a window, summary tokens included.
        width: features of a token, d_m.
        summary_tokens: how many at the front stand for the whole window.
        parameters: weights that a window's tokens meet, estimated from the layers' sizes.
        windows: of a clip, the mean over clips.
    """

    length: int
    width: int
    summary_tokens: int
    parameters: int
    windows: float = 1.0

    @property
    def clip_gflop(self) -> float:
        """Two operations a weight and token."""
        return 2e-9 * self.parameters * self.length * self.windows


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
        height, width = _picture_size(config)
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
