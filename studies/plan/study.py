"""The study: what is swept, as one validated, frozen config."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from actors import (
    AnswerLoss,
    EmulationConfig,
    Engine,
    EngineName,
    Federation,
    InlineEngine,
    PlacementStrategy,
    RayEngine,
    Role,
    Share,
)
from channel_models import DigitalConfig, Link, NamedAir
from channel_models.config import AbsolutePath
from tokcom_core.datasets.media import Take
from tokcom_core.encoders import AudioSpan, Crop
from tokcom_core.features import FeatureDtype
from tokcom_core.slide import Rounding
from tokcom_core.transceiver import RECEIVER_WIDTH, AudioPooling, VisionPooling

from .complaints import explain
from .methods import FLOORS, METHODS
from .paths import checkpoint
from .recipes import RecipeName, with_recipe
from .rehearsal import rehearsed


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


def _an_snr(value: float) -> float:
    if math.isnan(value) or value == -math.inf:
        raise ValueError("an SNR in dB is a number, or .inf for no noise")
    return value


Snr = Annotated[float, AfterValidator(_an_snr)]


class MiniMusic(_Config):
    """A MiniMUSIC made for the study, in its own folder."""

    clips: int = Field(default=2000, ge=25)
    seed: int = Field(default=1, ge=0)


class Data(_Config):
    """Either a MiniMUSIC or a folder with ``MUSIC-AVQA`` and ``VALOR`` in it."""

    minimusic: MiniMusic | None = None
    folder: AbsolutePath | None = None

    @model_validator(mode="after")
    def _one_of_two(self) -> Data:
        if (self.minimusic is None) == (self.folder is None):
            raise ValueError("give either 'minimusic' or 'folder'")
        return self


def _absolute(name: str) -> str:
    return checkpoint(name, Path.cwd()) if name.startswith((".", "~")) else name


Checkpoint = Annotated[str, AfterValidator(_absolute)]
"""A name, or the absolute path of a folder."""


class Models(_Config):
    """Frozen checkpoints: ``pocket``, a Hugging Face name or a local folder.

    ``audio_span`` is how much of a sound AST hears, ``frames`` and ``vision_crop`` what ViViT sees
    of a clip. ``slide`` leaves the encoders' class tokens out (``patches``) or not (``all``, as
    paper 1's code does, which rounds by ``floor``). ``receiver_width`` is the hidden width of the
    receivers G_m; with ``receiver_input: symbols+noise`` they also see each token's noise variance.
    """

    language: Checkpoint = "pocket"
    audio: Checkpoint = "pocket"
    vision: Checkpoint = "pocket"
    audio_span: AudioSpan = "first"
    frames: Take = "even"
    vision_crop: Crop = "none"
    slide: Literal["patches", "all"] = "patches"
    slide_rounding: Rounding = "nearest"
    feature_dtype: FeatureDtype = "float16"
    receiver_width: int = Field(default=RECEIVER_WIDTH, ge=1)
    receiver_input: Literal["symbols", "symbols+noise"] = "symbols"


class TokenBudget(_Config):
    """Token lengths s_m of audio and vision."""

    audio: int = Field(ge=1)
    vision: int = Field(ge=1)


class PoolingConfig(_Config):
    """Eq. (10) for each modality; see :func:`tokcom_core.transceiver.pool`."""

    vision: VisionPooling = "mean"
    audio: AudioPooling = "mean"

    @model_validator(mode="before")
    @classmethod
    def _one_for_both(cls, raw: Any) -> Any:
        return {"vision": raw, "audio": raw} if isinstance(raw, str) else raw


class AlignmentConfig(_Config):
    """Stage 1.

    ``train_anchor`` lets the contrastive loss reach the text receiver, too.
    ``reconstruct_questions`` adds eq. (9) on the questions of the task's training clips, so that
    the text receiver has seen how questions are worded. ``snr_db`` is stage 2's where it is None.
    """

    steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=2e-3, gt=0)
    temperature: float = Field(default=0.07, gt=0)
    pooling: PoolingConfig = PoolingConfig()
    train_anchor: bool = False
    reconstruct_questions: bool = True
    gradient_clip: float | None = Field(default=1.0, gt=0)
    snr_db: Snr | None = None


Schedule = Literal["linear", "constant"]


class FineTuningConfig(_Config):
    """Stage 2; of several learning rates each method gets that of least validation loss.

    ``floor_steps`` are those of the floors, which must be well trained to be floors.
    ``drop_modality`` is the probability that a training sample does without audio, and likewise
    without vision. ``rescale_receivers`` first brings each receiver's output to the RMS of the
    foundation model's embeddings. ``answer_loss`` is eq. (14) over all answer tokens and the end of
    sequence, or over the first token alone.
    """

    steps: int = Field(default=300, ge=1)
    floor_steps: int = Field(default=300, ge=1)
    batch_size: int = Field(default=32, ge=1)
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = Field(default=(1e-3,), min_length=1)
    schedule: Schedule = "linear"
    warmup_steps: int = Field(default=20, ge=0)
    gradient_clip: float | None = Field(default=1.0, gt=0)
    rescale_receivers: bool = True
    answer_loss: AnswerLoss = "all_tokens"
    drop_modality: float = Field(default=0.0, ge=0, lt=1)


Metric = Literal["exact", "first_token"]


class EvaluationConfig(_Config):
    """How cells are evaluated, on test questions.

    ``accuracy`` counts generated answers that equal the true one (``exact``) or share its first
    token; longer ones than ``max_answer_tokens`` are cut.
    """

    metric: Metric = "exact"
    max_answer_tokens: int = Field(default=8, ge=1)
    batch_size: int = Field(default=128, ge=1)
    questions: int | None = Field(default=None, ge=1)


class Resources(_Config):
    """What one trial, or one device pool of an emulation, takes of the machine or cluster.

    As many trials run at once as fit. ``gpu`` is the base station's, with ``engine: inline`` the
    trial's; with ``engine: ray`` every process of devices takes ``device_gpu`` besides.
    ``placement`` is how Ray places the processes of an emulation.
    """

    cpu: float = Field(default=1.0, gt=0)
    gpu: float = Field(default=0.0, ge=0)
    device_gpu: float = Field(default=0.0, ge=0)
    placement: PlacementStrategy = "PACK"

    @property
    def threads(self) -> int:
        """Of torch in each process; results can depend on it in the last bit."""
        return max(1, int(self.cpu))

    def engine(
        self,
        name: EngineName,
        emulates: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> Engine:
        """Where the processes of a network live; those of an emulation have CPUs of their own."""
        if name == "inline":
            return InlineEngine()
        shares: dict[Role, Share] = {
            "station": Share(gpu=self.gpu),
            "devices": Share(cpu=self.cpu if emulates else 0.0, gpu=self.device_gpu),
        }
        together = self.placement if emulates else None
        return RayEngine(threads=self.threads, shares=shares, together=together, prepare=prepare)


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"values are repeated: {', '.join(str(v) for v in values)}")
    return values


_Several = (BeforeValidator(_listed), AfterValidator(_distinct), Field(min_length=1))


class Study(_Config):
    """A grid over methods, airs, budgets and seeds; see ``docs/studies.md`` for every key."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    recipe: RecipeName | None = None
    rehearse: StrictBool = False
    data: Data = Data(minimusic=MiniMusic())
    models: Models = Models()
    methods: Annotated[tuple[str, ...], *_Several] = ("aligned", "unaligned")
    airs: Annotated[tuple[NamedAir, ...], *_Several] = Field(
        default=("awgn",), validate_default=True
    )
    train_snr_db: Annotated[tuple[Snr, ...], *_Several] = (10.0,)
    eval_snr_db: Annotated[tuple[Snr, ...], *_Several] = (10.0,)
    bandwidth_hz: Annotated[tuple[float, ...], *_Several] = (5e6,)
    tokens: Annotated[tuple[TokenBudget, ...], *_Several] = (TokenBudget(audio=16, vision=16),)
    question_tokens: int = Field(default=32, ge=1)
    caption_tokens: int = Field(default=256, ge=1)
    seeds: Annotated[tuple[Annotated[int, Field(ge=0)], ...], *_Several] = (0,)
    digital: DigitalConfig = DigitalConfig()
    link: dict[str, Any] = Field(default={}, validate_default=True)
    power_mode: Literal["fixed_psd", "fixed_power"] = "fixed_psd"
    reference_bandwidth_hz: float = Field(default=5e6, gt=0)
    deadline_ms: float | None = Field(default=None, gt=0)
    deadline_policy: Literal["late", "fit"] = "late"
    alignment: AlignmentConfig = AlignmentConfig()
    fine_tuning: FineTuningConfig = FineTuningConfig()
    federation: Federation | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    emulate: EmulationConfig | None = None
    engine: EngineName = "inline"
    device: str = "auto"
    resources: Resources = Resources()

    @model_validator(mode="before")
    @classmethod
    def _by_its_recipe(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        found = with_recipe(raw)
        return rehearsed(found) if found.get("rehearse") is True else found

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        for method in methods:
            if method not in METHODS:
                raise ValueError(f"no method {method!r}; take some of {', '.join(METHODS)}")
        return tuple(m for m in methods if m not in FLOORS)

    @model_validator(mode="after")
    def _emulates_token_symbols(self) -> Study:
        if self.emulate is not None:
            for method in self.methods:
                if METHODS[method].transport != "analog":
                    raise ValueError(
                        f"method {method!r} sends packets; emulate takes those that send token "
                        "symbols: aligned, reconstruction, unaligned"
                    )
            if self.emulate.faults.need_ray and self.engine == "inline":
                raise ValueError(
                    "emulate.faults kills processes or fills Ray's object store, engine inline has "
                    "neither; take engine: ray"
                )
            federation = self.federation
            if self.emulate.trains and federation and federation.users != self.emulate.users:
                raise ValueError(
                    f"federation.users {federation.users} and emulate.users {self.emulate.users} "
                    "should be the same where the emulated users train"
                )
        return self

    @field_validator("link")
    @classmethod
    def _swept_elsewhere(cls, link: dict[str, Any]) -> dict[str, Any]:
        if "bandwidth_hz" in link:
            raise ValueError("bandwidth_hz is a key of the study itself, not of its link")
        try:
            return Link(**link).model_dump(exclude={"bandwidth_hz"})
        except ValidationError as error:
            raise ValueError(explain(error, Link)) from None

    @field_validator("bandwidth_hz")
    @classmethod
    def _wide_enough(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        for value in values:
            if not value > 0 or math.isinf(value):
                raise ValueError(f"bandwidth_hz {value:g} should be positive and finite")
        return values

    def link_at(self, bandwidth_hz: float) -> Link:
        """The link on one of the study's bandwidths."""
        return Link(bandwidth_hz=bandwidth_hz, **self.link)

    def run(self, out: Path | str | None = None) -> Any:
        """Runs (or resumes) the study and returns the results table.

        Args:
            out: the study's folder or URI; ``studies_out/NAME`` by default.
        """
        from ..execution.run import run_study

        return run_study(self, out if out is not None else Path("studies_out") / self.name)


def differences(old: Study, new: Study) -> list[str]:
    """The keys in which two studies differ: ``fine_tuning.steps 300 -> 100``."""
    return list(_differences(old.model_dump(mode="json"), new.model_dump(mode="json"), ()))


def _differences(old: Any, new: Any, key: tuple[str, ...]) -> Iterator[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _differences(old.get(name), new.get(name), (*key, name))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for i, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from _differences(before, after, (*key, str(i)))
    elif old != new:
        yield f"{'.'.join(key)} {old} -> {new}"
