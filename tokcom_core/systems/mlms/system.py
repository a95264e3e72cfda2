"""The system of paper 1: token transceivers, contrastive alignment, split fine-tuning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ...checkpoints import POCKET
from ...datasets.samples import Samples
from ...features import AnyFeatures, Sliding, TextFeatures, features_of_datasets
from ...slide import slide
from ...tasks.base import Reference, Task
from ..base import FeatureFolders, Receiver, Seeded, System, TokenLengths, Transmitter
from ..phases import Phase, StreamInput, Training
from ..streams import Stream
from .config import AlignmentConfig, FineTuningConfig, Models
from .methods import METHODS

logger = logging.getLogger(__name__)

MEDIA = ("vision", "audio")
TEXT = "text"
TEXTS = ("caption", "question")
CHECKPOINTS = ("language", "audio", "vision")
ALIGNMENT = "alignment"
FINE_TUNING = "fine-tuning"
_CALIBRATION_SAMPLES = 256


class Mlms(System):
    """Split, aligned token transceivers (paper 1); text is the anchor modality.

    Attributes:
        models: Frozen checkpoints, and the part of the media that they encode.
        question_tokens, caption_tokens: Maximum number of tokens; longer texts are cut.
        alignment: Alignment, stage 1 of Algorithm 1.
        fine_tuning: Fine-tuning, stage 2 of Algorithm 1.
        intact_texts: Texts that a reference reads, intact and without other streams.
    """

    name: Literal["mlms"] = "mlms"
    models: Models = Models()
    question_tokens: int = Field(default=32, ge=1)
    caption_tokens: int = Field(default=256, ge=1)
    alignment: AlignmentConfig = AlignmentConfig()
    fine_tuning: FineTuningConfig = FineTuningConfig()
    intact_texts: tuple[Literal["caption", "question"], ...] = ()

    METHODS: ClassVar[dict[str, dict[str, Any]]] = METHODS
    PATHS: ClassVar[tuple[tuple[str, ...], ...]] = tuple(("models", kind) for kind in CHECKPOINTS)
    DEFAULT_TOKENS: ClassVar[dict[str, int]] = {"audio": 16, "vision": 16}
    REHEARSAL: ClassVar[dict[str, Any]] = {"models": dict.fromkeys(CHECKPOINTS, POCKET)}

    @classmethod
    def expanded(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        alignment = raw.get("alignment")
        return {**raw, "alignment": {"losses": alignment}} if isinstance(alignment, str) else raw

    def budgets(self, task: Task) -> tuple[str, ...]:
        return () if self.intact_texts else ("audio", "vision")

    def max_tokens(self, task: Task) -> dict[str, int]:
        return {medium: self.models.slid_length(medium) for medium in self.budgets(task)}

    def streams(self, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
        symbols = self._token_width // 2
        media = [
            Stream(m, m, m, tokens[m], symbols, medium=m) for m in self.budgets(task) if m in tokens
        ]
        longest = {"caption": self.caption_tokens, "question": self.question_tokens}
        texts = [
            Stream(name, TEXT, TEXT, longest[name], symbols, text=name, required=name == "question")
            for name in TEXTS
        ]
        return (*media, *texts)

    def served(self, task: Task) -> tuple[str, ...]:
        if self.intact_texts:
            return tuple(name for name in TEXTS if name in self.intact_texts)
        return (*MEDIA, "question")

    def phases(self, task: Task) -> tuple[Phase, ...]:
        last = self._fine_tuning(task)
        if self.intact_texts or self.alignment.losses == "none":
            return (last,)
        return (self._alignment(task), last)

    def _alignment(self, task: Task) -> Phase:
        """Lines 3 to 15 of Algorithm 1."""
        config = self.alignment
        contrastive = config.losses == "contrastive"
        inputs = [StreamInput(m, "align") for m in (*(MEDIA if contrastive else ()), "caption")]
        losses = ["reconstruction_caption"]
        if config.reconstruct_questions:
            inputs.append(StreamInput("question", task.train_split))
            losses.append("reconstruction_question")
        if contrastive:
            losses += ["contrastive_audio", "contrastive_vision"]
        return Phase(
            name=ALIGNMENT,
            inputs=tuple(inputs),
            training=Training(
                config.steps,
                config.learning_rate,
                "cosine_with_min_lr",
                gradient_clip=config.gradient_clip,
            ),
            batch_size=config.batch_size,
            losses=tuple(losses),
            snr_db=config.snr_db,
        )

    def _fine_tuning(self, task: Task) -> Phase:
        """Lines 16 to 27 of Algorithm 1."""
        config = self.fine_tuning
        steps = config.reference_steps if self.intact_texts else config.steps
        return Phase(
            name=FINE_TUNING,
            inputs=tuple(StreamInput(name, task.train_split) for name in self.served(task)),
            training=Training(
                steps,
                self.learning_rates[0],
                "linear" if config.schedule == "linear" else "constant_with_warmup",
                warmup_steps=min(config.warmup_steps, steps - 1),
                gradient_clip=config.gradient_clip,
            ),
            batch_size=config.batch_size,
            losses=("task", "first_token"),
            calibration_samples=_CALIBRATION_SAMPLES if config.rescale_receivers else 0,
            drop_prob=config.drop_modality,
            dropped=() if self.intact_texts else MEDIA,
        )

    def features(
        self, task: Task, device: str, tokens: TokenLengths
    ) -> dict[str, tuple[AnyFeatures, ...]]:
        if device == TEXT:
            texts = TextFeatures(splits=task.splits, columns=TEXTS, checkpoint=self.models.language)
            return {TEXT: (texts,)}
        sliding = Sliding(
            counts=(tokens[device],),
            with_summary=self.models.slide == "all",
            rounding=self.models.slide_rounding,
            dtype=self.models.feature_dtype,
        )
        encoder = self.models.encoder(device)
        return {device: features_of_datasets(task, task.splits, device, encoder, sliding)}

    def transmitter(
        self,
        task: Task,
        device: str,
        tokens: TokenLengths,
        features: FeatureFolders,
        torch_device: str,
    ) -> Transmitter:
        from .transmitter import MediaTransmitter, TextTransmitter

        if device == TEXT:
            longest = {"caption": self.caption_tokens, "question": self.question_tokens}
            return TextTransmitter(features[TEXT], longest, torch_device)
        return MediaTransmitter(features[device], tokens[device], self._token_width, torch_device)

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        from .receiver import MlmsReceiver

        return MlmsReceiver(self, seeded, torch_device, max_answer_tokens)

    def tokens_for(self, task: Task, phase: Phase, tokens: TokenLengths) -> dict[str, int]:
        sent = {own.stream for own in phase.inputs}
        return {device: count for device, count in tokens.items() if device in sent}

    def check(self, task: Task, tokens: TokenLengths) -> None:
        missing = {"align", *MEDIA, *TEXTS} - {*task.splits, *task.media, *task.texts}
        if missing:
            raise ValueError(f"system mlms needs {', '.join(sorted(missing))} of task {task.name}")
        super().check(task, tokens)
        if self.alignment.losses == "contrastive":
            for medium in self.budgets(task):
                self._check_pooling(medium, tokens[medium])

    def _check_pooling(self, medium: str, count: int) -> None:
        """Raises ValueError if the tokens that eq. (10) pools are not sent."""
        how, models = self.alignment.pooling.of(medium), self.models
        length = models.slid_length(medium)
        sent = (models.skipped(medium) + slide(length, count, models.slide_rounding)).tolist()
        complaint = f"systems.mlms.alignment.pooling.{medium} {how!r} needs "
        if how.startswith("cls") and sent[0] != 0:
            raise ValueError(
                f"{complaint}the class token, which the slide leaves out; take "
                "systems.mlms.models.slide: all, or pool 'mean'"
            )
        if how.startswith("cls") and medium == "audio" and models.audio_span == "whole":
            raise ValueError(
                f"{complaint}a class token for the whole sound, but each window of it has one of "
                "its own; take systems.mlms.models.audio_span: first, or pool 'mean'"
            )
        if how == "cls+distillation" and sent[:2] != [0, 1]:
            raise ValueError(
                f"{complaint}AST's second token, which is not one of {count} evenly spaced; take "
                "'cls', 'first_two' (whichever is sent second) or 'mean'"
            )
        if how == "first_two" and count < 2:
            raise ValueError(f"{complaint}two tokens, but tokens.{medium} is {count}")

    def check_data(
        self, task: Task, root: Path, samples: Mapping[str, Samples], max_answer_tokens: int
    ) -> None:
        """Warns of words that the language model does not know, and of other frame sampling.

        Raises:
            ValueError: for answers that it cannot generate.
        """
        from ...checkpoints.loading import load_tokenizer
        from ...vocabulary import check_texts
        from .data_checks import warn_of_sampling

        check_texts(load_tokenizer(self.models.language), task, samples, max_answer_tokens)
        if self.models.frames == "first":
            warn_of_sampling(task, root)

    def for_phase(self, phase: str) -> Mlms:
        if phase == ALIGNMENT:
            return self.model_copy(update={"fine_tuning": FineTuningConfig()})
        usual = FineTuningConfig()
        own: dict[str, Any] = {
            "learning_rates": self.learning_rates,
            "reference_learning_rates": None,
        }
        if self.intact_texts:
            own |= {"steps": usual.steps, "drop_modality": usual.drop_modality}
        else:
            own |= {"reference_steps": usual.reference_steps}
        update = {
            "alignment": AlignmentConfig(),
            "fine_tuning": self.fine_tuning.model_copy(update=own),
        }
        return self.model_copy(update=update)

    def reference(self, reference: Reference) -> Mlms:
        return self.model_copy(update={"intact_texts": reference.texts})

    @property
    def learning_rates(self) -> tuple[float, ...]:
        own = self.fine_tuning.reference_learning_rates if self.intact_texts else None
        return own or self.fine_tuning.learning_rates

    def at_learning_rate(self, learning_rate: float) -> Mlms:
        rates = {"learning_rates": (learning_rate,), "reference_learning_rates": None}
        return self.model_copy(update={"fine_tuning": self.fine_tuning.model_copy(update=rates)})

    @property
    def validation_loss(self) -> str:
        return "task" if self.fine_tuning.answer_loss == "all_tokens" else "first_token"

    def device_gflop(
        self, task: Task, device: str, tokens: Mapping[str, float], windows: Mapping[str, float]
    ) -> float:
        """Operations of the frozen encoder and the projection in 1e9; text is only looked up."""
        if device == TEXT or not tokens.get(device):
            return 0.0
        shape = self.models.encoder(device).shape()
        projection = self._token_width * shape.width * tokens[device]
        return shape.gflop(windows[device]) + 2e-9 * projection

    def station_gflop(self, tokens: Mapping[str, float], weights: Mapping[str, int]) -> float:
        """Operations of receivers and foundation model over the prompt in 1e9, two a weight."""
        receivers = sum(weights.get(device, 0) * count for device, count in tokens.items())
        return 2e-9 * (receivers + weights["foundation"] * sum(tokens.values()))

    @property
    def _token_width(self) -> int:
        from ...encoders.named import token_width

        return token_width(self.models.language)
