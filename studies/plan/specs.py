"""Specs: everything that one artifact or one cell of a study depends on."""

from __future__ import annotations

from typing import Literal

from actors import AnswerLoss, EmulationConfig, Federation, UserPopulation
from channel_models import Link, NamedAir
from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR
from tokcom_core.datasets.media import Take
from tokcom_core.encoders import AudioSpan, Crop
from tokcom_core.features import Sliding

from ..storage.artifacts import Spec
from .methods import METHODS, Method
from .study import AlignmentConfig, Metric, Models, Schedule, TokenBudget

Split = Literal["align", "train", "val", "test"]
TASK_SPLITS: tuple[Split, ...] = ("train", "val", "test")
SPLITS: tuple[Split, ...] = ("align", *TASK_SPLITS)
DATASET_OF: dict[Split, str] = {"align": VALOR, **dict.fromkeys(TASK_SPLITS, MUSIC_AVQA)}
MEDIA: tuple[Literal["audio", "vision"], ...] = ("audio", "vision")


class FeaturesSpec(Spec):
    """Slid tokens of one data set and encoder, at every token length that the study needs.

    What concerns the other modality alone is None.
    """

    data: str
    dataset: str
    modality: Literal["audio", "vision"]
    encoder: str
    audio_span: AudioSpan | None
    frames: Take | None
    vision_crop: Crop | None
    sliding: Sliding

    @property
    def splits(self) -> tuple[Split, ...]:
        """Whose clips it holds; one that stands in several is encoded once."""
        return tuple(split for split in SPLITS if DATASET_OF[split] == self.dataset)


class AlignmentSpec(Spec):
    """Stage 1 of paper 1; ``link`` holds what of it shapes the channel, ``files`` whether media
    are uploaded as files; ``federation`` divides the samples among users, who with ``crowd`` also
    take turns on the air."""

    data: str
    models: Models
    contrastive: bool
    air: NamedAir
    link: Link
    files: bool
    snr_db: float
    tokens: TokenBudget
    question_tokens: int
    caption_tokens: int
    seed: int
    federation: Federation | None
    crowd: UserPopulation | None
    alignment: AlignmentConfig


class TuningSpec(Spec):
    """Stage 2 of paper 1; ``alignment`` is where it starts from, ``link`` as there."""

    data: str
    models: Models
    method: str
    alignment: AlignmentSpec | None
    air: NamedAir
    link: Link
    snr_db: float
    tokens: TokenBudget | None
    question_tokens: int
    caption_tokens: int
    seed: int
    federation: Federation | None
    crowd: UserPopulation | None
    steps: int
    batch_size: int
    learning_rate: float
    schedule: Schedule
    warmup_steps: int
    gradient_clip: float | None
    rescale_receivers: bool
    answer_loss: AnswerLoss
    drop_modality: float


class ValidationSpec(Spec):
    """Validation loss of a fine-tuned network, to choose a learning rate by."""

    tuning: TuningSpec


class Cell(Spec):
    """One point of the study: a fine-tuned network under one link, at every evaluation SNR.

    With ``emulate``, many users ask the test questions instead of one.
    """

    study: str
    tuning: TuningSpec
    nominal_snr_db: float
    eval_snr_db: tuple[float, ...]
    eval_air_snr_db: tuple[float, ...]
    bandwidth_hz: float
    air_label: str
    link: Link
    deadline_ms: float | None
    questions: int | None
    batch_size: int
    max_answer_tokens: int
    metric: Metric
    emulate: EmulationConfig | None

    @property
    def method(self) -> Method:
        return METHODS[self.tuning.method]
