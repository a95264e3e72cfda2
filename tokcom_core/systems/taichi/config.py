"""Keys of TaiChi in a study file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, model_validator

from ...checkpoints import POCKET_IMAGES
from ...config import Config
from ...encoders import Clip, Convnext, Grid, NamedEncoder
from ...features import FeatureDtype
from ..config import AdaptedModules, MicroBatchSize

if TYPE_CHECKING:
    from ...foundation import LoraShape

Coding = Literal["joint", "cross-entropy", "mse", "none"]
Decoding = Literal["one-way", "relay"]
Order = Literal["image-first", "instruction-first"]


class Models(Config):
    """Frozen encoders, and the language model.

    Attributes:
        language: Hugging Face name, folder or pocket checkpoint of a causal language model.
        low, high: Tokenizers V_l of the low-resolution and V_h of the high-resolution image.
        feature_dtype: Precision of the stored tokens.
    """

    language: str = POCKET_IMAGES
    low: NamedEncoder = Clip()
    high: NamedEncoder = Convnext()
    feature_dtype: FeatureDtype = "float16"

    @model_validator(mode="after")
    def _same_places(self) -> Models:
        low, high = (getattr(own, "crop", "none") for own in (self.low, self.high))
        if low != high:
            raise ValueError(
                f"crop {low!r} of models.low and {high!r} of models.high should be the same, as "
                "tokens of the same place are fused"
            )
        return self

    def grids(self) -> tuple[Grid, Grid]:
        """Places that the tokens of both encoders stand for.

        Raises:
            ValueError: for an encoder that is not of images.
        """
        low, high = (own.shape().grid for own in (self.low, self.high))
        if low is None or high is None:
            name = self.low.name if low is None else self.high.name
            raise ValueError(f"encoder {name!r} has no grid of image tokens; take clip or convnext")
        return low, high


class LoraSettings(AdaptedModules):
    """Low-rank adapter of the language model; the paper does not give its shape.

    Attributes:
        rank, alpha: Rank, and the factor of the adapter times its rank.
        modules: By default those that Qwen2 and Gemma share.
    """

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    modules: tuple[str, ...] = Field(
        default=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
    )

    @property
    def shape(self) -> LoraShape:
        from ...foundation import LoraShape

        return LoraShape(self.rank, self.alpha, dropout=0.0, modules=self.modules)


class CodecConfig(Config):
    """Channel encoder and decoder, eqs. (13) to (15).

    Attributes:
        symbols_per_token: Complex symbols of a token, r; None sends the states themselves, two
            features per symbol.
        hidden: Features between the two layers of each.
        sees_snr: Whether the channel decoder also sees how well each token was received: minus
            log10 of the error variance after equalisation, in bels.
        sends_scale: Whether the base station is told each sample's power, without noise and outside
            of the channel uses. States that are sent without a codec need this; a codec could learn
            to convey information by it.
    """

    symbols_per_token: int | None = Field(default=8, ge=1)
    hidden: int = Field(default=256, ge=1)
    sees_snr: bool = True
    sends_scale: bool = False


class PhaseConfig(Config):
    """Training of one phase: AdamW, and a cosine schedule to zero after a linear warm-up.

    Attributes:
        learning_rate: Peak learning rate.
        station_learning_rate: That of the base station's parts; the same by default.
        micro_batch_size: Maximum number of samples that are computed at once, for models whose
            batches do not fit into memory.
        warmup_fraction: Fraction of the steps that are warm-up.
    """

    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batch_size: MicroBatchSize = None
    learning_rate: float = Field(gt=0)
    station_learning_rate: float | None = Field(default=None, gt=0)
    warmup_fraction: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)


class Pretraining(PhaseConfig):
    """Training of BAN and projector alone; rates and steps are those of the miniature world."""

    steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=6e-3, gt=0)


class InstructionTuning(PhaseConfig):
    """Training of BAN, projector and language model."""

    steps: int = Field(default=200, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    station_learning_rate: float | None = Field(default=5e-4, gt=0)


class CodecTraining(PhaseConfig):
    """Training of channel encoder and decoder by the states' squared error.

    With only 400 steps, the miniature world loses .16 of its accuracy over the air.
    """

    steps: int = Field(default=1600, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=8e-3, gt=0)


class CodingTraining(PhaseConfig):
    """Training of joint coding, or of the codec alone, by the answers' cross-entropy."""

    steps: int = Field(default=1500, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)


class ReferenceTraining(PhaseConfig):
    """Training of the language model on intact texts."""

    steps: int = Field(default=350, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rate: float = Field(default=5e-4, gt=0)
