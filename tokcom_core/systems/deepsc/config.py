"""Keys that the systems of the DeepSC family share in a study file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from ...checkpoints import POCKET_IMAGES
from ...config import Config
from ...encoders import Clip, Convnext, EncoderConfig, NamedEncoder
from ...features import FeatureDtype
from ..config import Checkpoint, LearningRates
from ..phases import Training

IMAGE, DETAIL, TEXT = "image", "detail", "text"
HIGH_RESOLUTION = Convnext(stages=(2,))
"""The pocket encoder that sees MiniCLEVR's materials."""
STATES = 2
"""Hidden state of the pocket language model: the output of the layers at TaiChi's terminal."""


class TransformerSize(Config):
    """Size of a transformer.

    Attributes:
        norm: Whether layers are normalised ``first``, with GELU, as in a ViT, or ``last``, with
            ReLU, as in DeepSC's code and U-DeepSC's decoder.
    """

    width: int = Field(ge=2)
    depth: int = Field(ge=1)
    heads: int = Field(ge=1)
    feedforward: int = Field(ge=1)
    norm: Literal["first", "last"] = "first"

    @model_validator(mode="after")
    def _whole_heads(self) -> TransformerSize:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} does not divide into {self.heads} heads")
        return self

    def macs(self, tokens: int, memory: int | None = None) -> int:
        """Multiplications by a weight for a sequence of tokens.

        Args:
            tokens: Number of tokens.
            memory: Number of other tokens whose keys and values every layer attends to; None for
                self-attention alone.
        """
        attention = 4 * tokens * self.width**2
        if memory is not None:
            attention += 2 * (tokens + memory) * self.width**2
        return self.depth * (attention + 2 * tokens * self.width * self.feedforward)


class ChannelCode(Config):
    """Channel encoder of one stream, with a decoder to match.

    Attributes:
        reals: Real numbers that a vector is sent as; two of them make one complex symbol.
        hidden: Hidden features of the encoder; None for a single linear layer.
        decoder_hidden: Hidden features of the decoder; None for a single linear layer.
    """

    reals: int = Field(ge=2, multiple_of=2)
    hidden: int | None = Field(default=None, ge=1)
    decoder_hidden: int | None = Field(default=None, ge=1)

    def encoder_macs(self, width: int) -> int:
        """Multiplications by a weight for a vector of ``width`` features that is sent."""
        if self.hidden is None:
            return width * self.reals
        return self.hidden * (width + self.reals)

    def decoder_macs(self, width: int) -> int:
        """Multiplications by a weight for a vector that is received as ``width`` features."""
        return width * (self.reals + 2 * (self.decoder_hidden or 0))


class ImageConfig(Config):
    """What the image device sends.

    Attributes:
        encoder: Frozen features that the device's transformer reads. DeepSC's descendants read
            those of a pretrained detector or ResNet, in whose place ``clip`` or ``convnext`` stand
            here. ``pixels`` gives raw patches, from which all vision has to be learned.
        detail: A second encoder, which reads the image at a higher resolution; None for none. Its
            features are added to those of ``encoder`` at the same places of the image. A detector
            sees more than one resolution, and MiniCLEVR shows materials at the higher one alone.
        feature_dtype: Precision of the stored features.
        vectors: Number of vectors that it sends; None sends one for each patch.
    """

    encoder: NamedEncoder = Clip()
    detail: NamedEncoder | None = None
    feature_dtype: FeatureDtype = "float16"
    size: TransformerSize
    vectors: int | None = Field(default=None, ge=1)
    code: ChannelCode

    @property
    def encoders(self) -> dict[str, EncoderConfig]:
        """Its encoders, by the names of their features."""
        found = {IMAGE: self.encoder, DETAIL: self.detail}
        return {name: own for name, own in found.items() if own is not None}

    @property
    def length(self) -> int:
        """Number of frozen features of an image."""
        return patches(self.encoder)

    @property
    def sent(self) -> int:
        """Number of vectors that are sent."""
        return self.vectors or self.length


def patches(encoder: EncoderConfig) -> int:
    """Number of tokens of an image, without those that stand for the whole."""
    shape = encoder.shape()
    return shape.length - shape.summary_tokens


class TextConfig(Config):
    """What the text device sends.

    Attributes:
        tokenizer: Language model, or BERT, whose tokenizer splits texts into words.
        layer: Hidden state of that frozen model which the device's transformer reads, as
            transformers counts them (0: before the first layer, -1: the last one). T- and U-DeepSC
            begin with a pretrained BERT. With None, the model itself is not used, and an embedding
            of words is learned.
        max_words: Maximum number of words; longer texts are cut.
        vectors: Number of vectors that it sends; None sends one for each word.
    """

    tokenizer: Checkpoint = POCKET_IMAGES
    layer: int | None = None
    max_words: int = Field(default=40, ge=1)
    size: TransformerSize
    vectors: int | None = Field(default=None, ge=1)
    code: ChannelCode

    @property
    def sent(self) -> int:
        """Maximum number of vectors that are sent."""
        return self.vectors or self.max_words


class AnswerConfig(Config):
    """The closed set of answers.

    Attributes:
        classes: Maximum number of answers: the most frequent ones of the training split.
        loss: ``sigmoid`` is one binary cross-entropy per answer, ``softmax`` one cross-entropy.
            Either is over the answers of a sample's own task.
    """

    classes: int = Field(default=3129, ge=2)
    loss: Literal["sigmoid", "softmax"]


class TrainingConfig(Config):
    """Training of one phase.

    Attributes:
        batch_size: Number of samples per step, over all tasks. A system that learns its own
            embedding of words does not learn sentiment from a few reviews per step. The mixture of
            MiniCLEVR's questions and reviews has 46 reviews in 256 samples.
        learning_rates: Candidates, of which the one of lowest validation loss is used.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(default=256, ge=1)
    learning_rates: LearningRates = Field(default=(2e-3,), min_length=1)
    warmup_steps: int = Field(default=200, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)

    @property
    def training(self) -> Training:
        """AdamW with a warm-up and a cosine, at the first learning rate."""
        return Training(
            self.steps,
            self.learning_rates[0],
            "cosine_with_min_lr",
            warmup_steps=min(self.warmup_steps, self.steps - 1),
            gradient_clip=self.gradient_clip,
        )


def _one_rate(training: TrainingConfig) -> TrainingConfig:
    if len(training.learning_rates) > 1:
        raise ValueError(
            f"learning_rates {list(training.learning_rates)}: there are candidates for 'training' "
            "alone; take one"
        )
    return training


EarlierTraining = Annotated[TrainingConfig, AfterValidator(_one_rate)]
"""Training of a phase before the last, at a single learning rate."""

FROM_FROZEN = TrainingConfig(steps=2000, batch_size=64, learning_rates=(5e-4,), warmup_steps=100)
"""Training on MiniCLEVR on top of frozen features, at DeepSC-VQA's best learning rate."""
SEMANTIC_CODEC = FROM_FROZEN.model_copy(update={"steps": 4000})
"""The same without a channel. A network learns to find the object that a question means abruptly,
after some 1,500 steps; at a learning rate of 2e-3 it never does."""
SMOKE_TRAINING = {"steps": 2, "batch_size": 8}
"""Settings of each training in a smoke test."""
