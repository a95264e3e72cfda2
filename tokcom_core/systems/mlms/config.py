"""Keys of paper 1's system in a study file."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ...checkpoints import POCKET, POCKET_IMAGES
from ...config import Config, dump_named, validate_named
from ...datasets.layout import FrameChoice
from ...encoders import ENCODERS, Ast, AudioSpan, Clip, Crop, EncoderConfig, Vivit
from ...features import FeatureDtype, Sliding
from ...selection import Selection
from ...slide import Rounding
from ..config import AdaptedModules, Checkpoint, LearningRates, MicroBatchSize, absolute
from .transceiver import RECEIVER_WIDTH, AudioPooling, Pooling, VisionPooling

AlignmentLosses = Literal["none", "reconstruction", "contrastive"]
AnswerLoss = Literal["all_tokens", "first_token"]
"""The loss of :class:`~tokcom_core.answers.AnswerLosses` that fine-tuning minimises."""


def _encoder(raw: Any) -> str | EncoderConfig:
    if isinstance(raw, str):
        return absolute(raw)
    return validate_named(raw, EncoderConfig, ENCODERS)


def _dump_encoder(choice: str | EncoderConfig) -> Any:
    return choice if isinstance(choice, str) else dump_named(choice, ENCODERS)


EncoderChoice = Annotated[
    str | EncoderConfig, PlainValidator(_encoder), PlainSerializer(_dump_encoder)
]
"""A checkpoint of the usual architecture, or a custom encoder."""

PARTS = {
    "audio_span": ("audio", "ast", "span"),
    "frames": ("vision", "vivit", "frames"),
    "vision_crop": ("vision", "vivit", "crop"),
}
"""Keys of :class:`Models` for parts of the media, each with its medium, the encoder that has such a
key, and the encoder's own key, which comes first. They stand above the media in :class:`Models`,
whose validator reads them."""


class Models(Config):
    """Frozen checkpoints, and the part of the media that they encode.

    Attributes:
        language: Foundation model; None for the pocket one that knows the words of the task's
            media.
        audio, vision, image: AST, ViViT and CLIP by their checkpoints, or other encoders
            (``{name: convnext}``, ``{name: custom, class: package.module:Class}``).
        audio_span: Part of a sound that AST encodes, unless ``audio`` itself sets its ``span``.
        frames, vision_crop: Frames of a clip that ViViT encodes, and their crop, unless ``vision``
            itself sets its ``frames`` or ``crop``.
        slide: Whether the slide leaves the encoders' class tokens out (``patches``) or not
            (``all``, as in paper 1's code, which also rounds by ``floor``).
        slide_rounding: Rounding of the slid positions.
        selection: How the tokens to send are selected, by the slide or otherwise.
        feature_dtype: Precision of the stored tokens.
        receiver_width: Hidden width of the receivers G_m.
        receiver_input: Whether the receivers also see each token's noise variance.
    """

    language: Checkpoint | None = None
    audio_span: AudioSpan = "first"
    frames: FrameChoice = "even"
    vision_crop: Crop = "none"
    audio: EncoderChoice = POCKET
    vision: EncoderChoice = POCKET
    image: EncoderChoice = POCKET_IMAGES
    slide: Literal["patches", "all"] = "patches"
    slide_rounding: Rounding = "nearest"
    selection: Selection = "slide"
    feature_dtype: FeatureDtype = "float16"
    receiver_width: int = Field(default=RECEIVER_WIDTH, ge=1)
    receiver_input: Literal["symbols", "symbols+noise"] = "symbols"

    @field_validator("audio", "vision")
    @classmethod
    def _of_its_part(cls, choice: str | EncoderConfig, info: ValidationInfo) -> str | EncoderConfig:
        """Gives AST and ViViT those of :data:`PARTS` that they do not set themselves."""
        if isinstance(choice, str) or type(choice) is not ENCODERS.get(choice.name):
            return choice
        own = {
            part: info.data[key]
            for key, (medium, encoder, part) in PARTS.items()
            if (medium, encoder) == (info.field_name, choice.name) and key in info.data
        }
        unset = own.keys() - choice.model_fields_set
        return choice.model_copy(update={part: own[part] for part in unset})

    def language_for(self, media: Collection[str]) -> str:
        """The foundation model for a task about these media."""
        return self.language or (POCKET_IMAGES if "image" in media else POCKET)

    def encoder(self, medium: str) -> EncoderConfig:
        """The encoder of ``audio``, ``vision`` or ``image``."""
        choice: str | EncoderConfig = getattr(self, medium)
        if not isinstance(choice, str):
            return choice
        if medium == "audio":
            return Ast(checkpoint=choice, span=self.audio_span)
        if medium == "image":
            return Clip(checkpoint=choice)
        return Vivit(checkpoint=choice, frames=self.frames, crop=self.vision_crop)

    def slid_length(self, medium: str) -> int:
        """Number of tokens that the slide chooses from in a clip of one window."""
        return self.encoder(medium).shape().length - self.skipped(medium)

    def sliding(self, medium: str, count: int) -> Sliding:
        """What is stored of a medium to send ``count`` tokens.

        A device with a learned selection selects while it sends. For it, as many tokens are stored
        as one window has, which are all tokens of a clip of one window.
        """
        with_summary = self.slide == "all"
        if self.selection == "learned":
            counts = (self.slid_length(medium),)
            return Sliding(counts, with_summary, dtype=self.feature_dtype)
        return Sliding(
            (count,), with_summary, self.slide_rounding, self.feature_dtype, self.selection
        )

    def skipped(self, medium: str) -> int:
        """Number of tokens at the front that the slide leaves out."""
        return 0 if self.slide == "all" else self.encoder(medium).shape().summary_tokens


class LoraSettings(AdaptedModules):
    """Low-rank adapter of the foundation model, eq. (13); its shape is that of the authors' code.

    Attributes:
        modules: By default the query and value projections, as Llama, Qwen and others name them.
    """

    modules: tuple[str, ...] = Field(default=("q_proj", "v_proj"), min_length=1)


class PoolingConfig(Config):
    """Pooling of eq. (10) for each modality; see :func:`.transceiver.pool`."""

    vision: VisionPooling = "mean"
    audio: AudioPooling = "mean"
    image: VisionPooling = "mean"

    @model_validator(mode="before")
    @classmethod
    def _one_for_all(cls, raw: Any) -> Any:
        return dict.fromkeys(cls.model_fields, raw) if isinstance(raw, str) else raw

    def of(self, medium: str) -> Pooling:
        """Pooling of ``audio``, ``vision`` or ``image``."""
        how: Pooling = getattr(self, medium)
        return how


class AlignmentConfig(Config):
    """Contrastive cross-modal alignment, stage 1 of Algorithm 1; a string gives its losses alone.

    Attributes:
        losses: Losses (9) and (11) (``contrastive``), (9) alone, or no alignment at all.
        train_anchor: Whether (11) also trains the text receiver. In the paper only (9) does, but
            its authors' code does not detach the anchor.
        reconstruct_questions: Adds eq. (9) on the questions of the task's training split, so that
            the text receiver has seen how questions are worded.
        snr_db: Average SNR of this phase; that of fine-tuning by default.
    """

    losses: AlignmentLosses = "contrastive"
    steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    temperature: float = Field(default=0.07, gt=0)
    pooling: PoolingConfig = PoolingConfig()
    train_anchor: bool = False
    reconstruct_questions: bool = True
    gradient_clip: float | None = Field(default=1.0, gt=0)
    snr_db: float | None = Field(default=None, gt=float("-inf"))

    @model_validator(mode="before")
    @classmethod
    def _by_its_losses(cls, raw: Any) -> Any:
        return {"losses": raw} if isinstance(raw, str) else raw


class FineTuningConfig(Config):
    """Task-oriented fine-tuning, stage 2 of Algorithm 1.

    Attributes:
        micro_batch_size: Maximum number of samples that are computed at once, for models whose
            batches do not fit into memory.
        learning_rates: Candidates; each method uses the one with the lowest validation loss.
        reference_steps, reference_learning_rates: Settings of the references, which should be
            well trained; the learning rates are the same by default.
        drop_modality: Probability that a medium is left out of a training sample, independently
            for each medium.
        rescale_receivers: Whether to scale each receiver's output to the RMS of the foundation
            model's embeddings before the first step.
        answer_loss: Loss (14) over all answer tokens and the end of sequence, or over the first
            token alone.
    """

    steps: int = Field(default=300, ge=1)
    reference_steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=32, ge=1)
    micro_batch_size: MicroBatchSize = None
    learning_rates: LearningRates = Field(default=(1e-3,), min_length=1)
    reference_learning_rates: LearningRates | None = Field(default=None, min_length=1)
    schedule: Literal["linear", "constant"] = "linear"
    warmup_steps: int = Field(default=20, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    rescale_receivers: bool = True
    answer_loss: AnswerLoss = "all_tokens"
    drop_modality: float = Field(default=0.0, ge=0, lt=1)
