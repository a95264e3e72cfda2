"""A device: one modality, its frozen tokens and its trained token transmitter."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from channel_models import Frame, normalise, spawn_seed
from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.encoders import TextEncoder, pick_device
from tokcom_core.features import FeatureStore, open_features
from tokcom_core.transceiver import TokenTransmitter

from .messages import Batch, Gradient, Modality, Training
from .training.federation import Federation, UserProjections
from .training.optimiser import Optimiser, seeded


@dataclass(frozen=True)
class DeviceConfig:
    """Everything a device is made of; paths, not tensors, so that it travels lightly.

    Attributes:
        name: unique in the network.
        modality: what it holds.
        token_width: d_T of the foundation model.
        tokens: by stream, s_m that it slides to; for text, the longest text it sends.
        seed: the study's seed; the device's own follow from it and its name.
        samples: table of each split.
        features: feature store that holds each split's clips (audio and vision).
        file_bits: table of the media files' sizes, for a device that uploads them as they are.
        language_model: whose tokenizer and embeddings the text device uses.
        federation: the users that the training samples are divided among, if each has a
            projection of its own; None for one that all share.
        device: torch device or ``auto``.
    """

    name: str
    modality: Modality
    token_width: int
    tokens: dict[str, int]
    seed: int
    samples: dict[str, Path]
    features: dict[str, Path] = field(default_factory=dict)
    file_bits: Path | None = None
    language_model: str = "pocket"
    federation: Federation | None = None
    device: str = "auto"


class Device:
    """Sends tokens as symbols and learns from the gradients that come back.

    A plain class: engines decide whether it lives in this process or in a Ray actor.
    """

    def __init__(self, config: DeviceConfig) -> None:
        self.name = config.name
        self._config = config
        self._device = pick_device(config.device)
        self._samples = {split: read_samples(file) for split, file in config.samples.items()}
        self._file_sizes = (
            {}
            if config.file_bits is None
            else pd.read_parquet(config.file_bits).set_index("video_id")[config.modality].to_dict()
        )
        self._source = _text_tokens(config) if config.modality == "text" else _MediaTokens(config)
        with seeded(spawn_seed(config.seed, config.name, "projection")):
            self.transmitter = TokenTransmitter(
                self._source.width, config.token_width, config.modality == "text"
            ).to(self._device)
        self._users = (
            None
            if config.federation is None or config.modality == "text"
            else UserProjections(config.federation, self.transmitter)
        )
        self._optimiser: Optimiser | None = None
        self._sent: dict[str, tuple[Tensor, Tensor]] = {}

    def start(self, training: Training) -> None:
        """Begins a stage with a fresh optimiser."""
        self._optimiser = Optimiser(self.transmitter.parameters(), training)
        if self._users is not None:
            self._users.start(training)

    def transmit(self, batch: Batch) -> Frame:
        """Steps 4 to 6 of Algorithm 1: tokens, slide, projection, symbols of unit power."""
        tokens, valid = self._source.tokens(self._samples[batch.split], batch)
        if batch.muted:
            valid = valid & ~torch.tensor(batch.muted)[:, None]
        tokens, valid = tokens.to(self._device), valid.to(self._device)
        with torch.set_grad_enabled(batch.training):
            symbols, valid_symbols = (
                self._users.transmit(tokens, valid, batch.rows)
                if self._users is not None and batch.training
                else self.transmitter(tokens, valid)
            )
            symbols, scale = normalise(symbols, valid_symbols)
        if valid_symbols.all():  # as one byte for all, it travels lightly
            valid_symbols = valid_symbols[:1, :1].expand_as(valid_symbols)
        if batch.training and symbols.requires_grad:
            self._sent[batch.stream] = (symbols, scale)
        return Frame(
            self.name,
            batch.stream,
            symbols.detach(),
            valid_symbols,
            scale.detach(),
            block=self._config.token_width // 2,
            file_bits=self._file_bits(batch),
            members=batch.members,
        )

    def _file_bits(self, batch: Batch) -> Tensor | None:
        """Sizes of the files that stand behind a batch ``[B]``, where devices upload files."""
        if not self._file_sizes or batch.stream not in ("audio", "vision"):
            return None
        video_ids = self._samples[batch.split].video_id
        return torch.tensor([self._file_sizes[video_ids[row]] for row in batch.rows]).float()

    def learn(self, *gradients: Gradient) -> None:
        """Back-propagates the gradients of the frames sent last, and steps the optimiser."""
        assert self._optimiser is not None, "start() begins a stage"
        for gradient in gradients:
            sent = self._sent.pop(gradient.stream, None)
            if sent is None or gradient.symbols is None or gradient.scale is None:
                continue
            torch.autograd.backward(
                sent, (gradient.symbols.to(self._device), gradient.scale.to(self._device))
            )
        if self._users is None:
            self._optimiser.step()
        else:
            self._users.step()

    def state(self) -> dict[str, Tensor]:
        """The trained tensors."""
        return {k: v.detach().cpu().clone() for k, v in self.transmitter.state_dict().items()}

    def save(self, folder: Path) -> None:
        save_file(self.state(), folder / f"{self.name}.safetensors")

    def load(self, folder: Path) -> None:
        """Loads what :meth:`save` saved."""
        self.transmitter.load_state_dict(load_file(folder / f"{self.name}.safetensors"))

    def checkpoint(self, folder: Path) -> None:
        """Saves everything that the next step depends on."""
        assert self._optimiser is not None, "start() begins a stage"
        self.save(folder)
        self._optimiser.save(folder / f"{self.name}-optimiser.safetensors")
        if self._users is not None:
            self._users.checkpoint(folder, self.name)

    def restore(self, folder: Path) -> None:
        """Goes back to what :meth:`checkpoint` saved; the stage has begun already."""
        assert self._optimiser is not None, "start() begins a stage"
        self.load(folder)
        self._optimiser.load(folder / f"{self.name}-optimiser.safetensors")
        if self._users is not None:
            self._users.restore(folder, self.name)
        self._sent.clear()


class _MediaTokens:
    """Slid tokens of a clip from the feature store."""

    def __init__(self, config: DeviceConfig) -> None:
        opened = {folder: open_features(folder) for folder in set(config.features.values())}
        self._stores: dict[str, FeatureStore] = {
            split: opened[folder] for split, folder in config.features.items()
        }
        self._count = config.tokens[config.modality]
        self.width = next(iter(self._stores.values())).width

    def tokens(self, samples: Samples, batch: Batch) -> tuple[Tensor, Tensor]:
        video_ids = [samples.video_id[row] for row in batch.rows]
        tokens = self._stores[batch.split].select(video_ids, self._count)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool)


class _TextTokens:
    """Embedded words of a caption or a question, padded to the longest of the batch."""

    def __init__(self, encoder: TextEncoder, longest: dict[str, int]) -> None:
        self._encoder = encoder
        self._longest = longest
        self.width = encoder.width

    def tokens(self, samples: Samples, batch: Batch) -> tuple[Tensor, Tensor]:
        texts = samples.caption if batch.stream == "caption" else samples.question
        longest = self._longest[batch.stream]
        ids = [self._encoder.ids(texts[row])[:longest] for row in batch.rows]
        length = max(1, *(len(row) for row in ids))
        padded = torch.tensor([row + [0] * (length - len(row)) for row in ids])
        valid = torch.tensor([[i < len(row) for i in range(length)] for row in ids])
        return self._encoder(padded), valid


def _text_tokens(config: DeviceConfig) -> _TextTokens:
    return _TextTokens(_text_encoder(config.language_model, config.device), config.tokens)


@lru_cache(maxsize=2)
def _text_encoder(language_model: str, device: str) -> TextEncoder:
    """Frozen, so the devices of one process share it."""
    return TextEncoder(language_model, device)
