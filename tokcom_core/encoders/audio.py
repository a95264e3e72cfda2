"""AST, the encoder of sound: the same code for real checkpoints and pocket ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import ASTFeatureExtractor, ASTModel

from ..checkpoints.loading import load_model, load_processor
from ..datasets import media
from ..datasets.layout import MIN_SAMPLES, SAMPLE_RATE_HZ
from ..devices import pick_device, pick_dtype
from .attention import AttendingEncoder
from .base import freeze
from .named import AudioSpan

_HOP_SAMPLES = 160  # of AST's filter bank: a frame every 10 ms


class AudioEncoder(AttendingEncoder):
    """AST: a spectrogram transformer over 16 kHz mono sound.

    Args:
        name: Name of the checkpoint.
        device: Torch device or ``auto``.
        span: Part of the sound that is encoded: the ``first`` spectrogram (10.24 s), or the
            ``whole`` sound in consecutive spectrograms.
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
        self._model = freeze(model, self._device)

    def read(self, file: Path) -> Tensor:
        return self.preprocess(media.read_sound(file))

    def preprocess(self, sound: NDArray[np.float32]) -> Tensor:
        """Spectrograms ``[windows, frames, mel bins]`` of sound ``[samples]``.

        The last window may be padded, but every window has at least one frame of its own.

        Raises:
            ValueError: for a sound shorter than one frame.
        """
        media.check_length(len(sound))
        frames = 1 + (len(sound) - MIN_SAMPLES) // _HOP_SAMPLES
        step = self._processor.max_length * _HOP_SAMPLES
        needed = step + MIN_SAMPLES - _HOP_SAMPLES
        windows = 1 if self._span == "first" else -(-frames // self._processor.max_length)
        values: Tensor = self._processor(
            [sound[i * step :][:needed] for i in range(windows)],
            sampling_rate=SAMPLE_RATE_HZ,
            return_tensors="pt",
        )["input_values"]
        return values
