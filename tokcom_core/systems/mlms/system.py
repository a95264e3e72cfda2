"""The system of paper 1: token transceivers, contrastive alignment, split fine-tuning."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ...checkpoints import POCKET, POCKET_IMAGES, NamedCheckpoint
from ...datasets.samples import Samples
from ...features import AnyFeatures, TextFeatures, features_of_datasets
from ...slide import slide
from ...tasks.base import Reference, Task
from ..base import FeatureFolders, Seeded, System, TokenLengths
from ..phases import Phase, StreamInput, Training
from ..sides import Receiver, Transmitter
from ..streams import Stream
from .config import PARTS, AlignmentConfig, FineTuningConfig, LoraSettings, Models
from .methods import METHODS

logger = logging.getLogger(__name__)

MEDIA = ("vision", "audio", "image")
"""The media that there are encoders for, in the order of concatenation, eq. (12)."""
TEXT = "text"
TEXTS = ("caption", "question")
ALIGNMENT = "alignment"
FINE_TUNING = "fine-tuning"
_CALIBRATION_SAMPLES = 256


class Mlms(System):
    """Split, aligned token transceivers (paper 1); text is the anchor modality.

    Its media are those of the task that it has an encoder for, each on a device of its own. Its
    question is the last of the task's texts, and its anchor is the caption.

    Attributes:
        models: Frozen checkpoints, and the part of the media that they encode.
        question_tokens, caption_tokens: Maximum number of tokens; longer texts are cut.
        alignment: Alignment, stage 1 of Algorithm 1.
        fine_tuning: Fine-tuning, stage 2 of Algorithm 1.
        lora: Low-rank adapter of the foundation model, which all phases build.
        intact_texts: Columns of the texts that a reference reads, intact and without other streams.
    """

    name: Literal["mlms"] = "mlms"
    models: Models = Models()
    question_tokens: int = Field(default=32, ge=1)
    caption_tokens: int = Field(default=256, ge=1)
    alignment: AlignmentConfig = AlignmentConfig()
    fine_tuning: FineTuningConfig = FineTuningConfig()
    lora: LoraSettings = Field(
        default=LoraSettings(),
        exclude_if=lambda lora: lora == LoraSettings(),  # artifact names stay
    )
    intact_texts: tuple[str, ...] = ()

    METHODS: ClassVar[dict[str, dict[str, Any]]] = METHODS
    PATHS: ClassVar[tuple[tuple[str, ...], ...]] = (
        *(("models", kind) for kind in ("language", *MEDIA)),
        *(("models", kind, "checkpoint") for kind in MEDIA),
    )
    DEFAULT_TOKENS: ClassVar[dict[str, int]] = {"audio": 16, "vision": 16, "image": 16}
    ANY_LENGTH: ClassVar[bool] = True
    POCKET: ClassVar[dict[str, Any]] = {
        "models": {"language": None, "audio": POCKET, "vision": POCKET, "image": POCKET_IMAGES}
    }
    REAL: ClassVar[dict[str, Any]] = {
        "models": {
            "language": "Qwen/Qwen2.5-1.5B",
            "audio": "MIT/ast-finetuned-audioset-10-10-0.4593",
            "vision": "google/vivit-b-16x2",
            "image": "openai/clip-vit-large-patch14-336",  # TaiChi's; paper 1 has no images
        }
    }
    SMOKE: ClassVar[dict[str, Any]] = {
        "alignment": {"steps": 2, "batch_size": 8},
        "fine_tuning": {"steps": 2, "reference_steps": 2, "batch_size": 8},
    }

    @classmethod
    def expanded(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        alignment = raw.get("alignment")
        return {**raw, "alignment": {"losses": alignment}} if isinstance(alignment, str) else raw

    @classmethod
    def merged(cls, settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        models, overridden = dict(settings["models"]), overrides.get("models")
        for key in PARTS.keys() & (overridden if isinstance(overridden, Mapping) else {}):
            medium, encoder, part = PARTS[key]
            choice = models[medium]
            if isinstance(choice, Mapping) and choice["name"] == encoder:
                models[medium] = {name: value for name, value in choice.items() if name != part}
        return super().merged({**settings, "models": models}, overrides)

    def swept_devices(self, task: Task) -> tuple[str, ...]:
        return () if self.intact_texts else tuple(m for m in task.media if m in MEDIA)

    def max_tokens(self, task: Task) -> dict[str, int]:
        return {medium: self.models.slid_length(medium) for medium in self.swept_devices(task)}

    def streams(self, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
        stream = partial(Stream, symbols_per_token=self.token_width(task) // 2)
        media = [
            stream(name=m, device=m, modality=m, max_tokens=tokens[m], medium=m)
            for m in self.swept_devices(task)
            if m in tokens
        ]
        longest = {"caption": self.caption_tokens, "question": self.question_tokens}
        texts = [
            stream(
                name=name,
                device=TEXT,
                modality=TEXT,
                max_tokens=longest[name],
                text=column,
                required=name == "question",
            )
            for name, column in self._columns(task).items()
        ]
        return (*media, *texts)

    def checkpoints(self, task: Task) -> tuple[NamedCheckpoint, ...]:
        language = NamedCheckpoint("language", self.models.language_for(task.media))
        encoders = (self.models.encoder(medium).pretrained for medium in self.swept_devices(task))
        return (language, *filter(None, encoders))

    def _columns(self, task: Task) -> dict[str, str]:
        """Column of each text stream; the caption is left out if the task has none."""
        every = zip(TEXTS, ("caption", *task.texts[-1:]), strict=False)  # a task may have no texts
        return {name: column for name, column in every if column in task.texts}

    def served(self, task: Task) -> tuple[str, ...]:
        if self.intact_texts:
            columns = self._columns(task)
            return tuple(name for name, column in columns.items() if column in self.intact_texts)
        return (*self._media(task), "question")

    def _media(self, task: Task) -> tuple[str, ...]:
        """Streams of the task's media, in the order of concatenation."""
        return tuple(medium for medium in MEDIA if medium in self.swept_devices(task))

    def phases(self, task: Task) -> tuple[Phase, ...]:
        last = self._fine_tuning(task)
        split = task.alignment_split
        if not self._aligns or split is None:  # check() refuses to align without captions
            return (last,)
        return self._alignment(task, split), last

    @property
    def _aligns(self) -> bool:
        return not self.intact_texts and self.alignment.losses != "none"

    def _alignment(self, task: Task, split: str) -> Phase:
        """Lines 3 to 15 of Algorithm 1, on the captions of a split."""
        config = self.alignment
        contrastive = config.losses == "contrastive"
        media = self._media(task) if contrastive else ()
        inputs = [StreamInput(name, split) for name in (*media, "caption")]
        losses = ["reconstruction_caption"]
        if config.reconstruct_questions:
            inputs.append(StreamInput("question", task.train_split))
            losses.append("reconstruction_question")
        if contrastive:
            losses += [f"contrastive_{medium}" for medium in self.swept_devices(task)]
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
            aligned=("caption", *media) if media else (),
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
            micro_batch_size=config.micro_batch_size,
            drop_prob=config.drop_modality,
            dropped=self._media(task),
        )

    def features(
        self, task: Task, device: str, tokens: TokenLengths
    ) -> dict[str, tuple[AnyFeatures, ...]]:
        if device == TEXT:
            texts = TextFeatures(
                splits=task.splits,
                columns=tuple(self._columns(task).values()),
                checkpoint=self.models.language_for(task.media),
            )
            return {TEXT: (texts,)}
        sliding = self.models.sliding(device, tokens[device])
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
        from .transmitter import LearnedTransmitter, MediaTransmitter, TextTransmitter

        if device == TEXT:
            texts = [stream for stream in self.streams(task, tokens) if stream.device == TEXT]
            return TextTransmitter(features[TEXT], texts, torch_device)
        width = self.token_width(task)
        if self.models.selection == "learned":
            lengths = (self.models.slid_length(device), tokens[device])
            return LearnedTransmitter(features[device], lengths, width, torch_device)
        return MediaTransmitter(features[device], tokens[device], width, torch_device)

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        from .receiver import MlmsReceiver

        return MlmsReceiver(self, task, seeded, torch_device, max_answer_tokens)

    def tokens_for(self, task: Task, phase: Phase, tokens: TokenLengths) -> dict[str, int]:
        sent = {item.stream for item in phase.inputs}
        return {device: count for device, count in tokens.items() if device in sent}

    def check(self, task: Task, tokens: TokenLengths) -> None:
        if not set(MEDIA) & set(task.media):
            raise ValueError(
                f"system mlms has encoders of {', '.join(MEDIA)}, of which task {task.name} has "
                "none; take a task that has some"
            )
        if not task.texts:
            raise ValueError(
                f"system mlms sends a question, but task {task.name} has no texts; give it one"
            )
        if self._aligns and ("caption" not in task.texts or task.alignment_split is None):
            raise ValueError(
                f"system mlms aligns on captions, of which task {task.name} has none; take "
                "alignment: none"
            )
        super().check(task, tokens)
        self.lora.check(self.models.language_for(task.media))
        for medium in self.swept_devices(task):
            self._check_selection(medium)
        if self.alignment.losses == "contrastive":
            for medium in self.swept_devices(task):
                self._check_pooling(medium, tokens[medium])

    def _check_selection(self, medium: str) -> None:
        """Raises ValueError if the selection needs attention that the encoder does not have."""
        encoder = self.models.encoder(medium)
        if self.models.selection == "attention" and not encoder.ATTENDS:
            raise ValueError(
                f"systems.mlms.models.selection 'attention' needs an encoder that attends from a "
                f"class token, which {medium} encoder {encoder.name!r} does not; take 'norm', or "
                "encoders ast, vivit or clip"
            )

    def _check_pooling(self, medium: str, count: int) -> None:
        """Raises ValueError if the tokens that eq. (10) pools are not sent."""
        how, models = self.alignment.pooling.of(medium), self.models
        encoder = models.encoder(medium)
        length = models.slid_length(medium)
        sent = (models.skipped(medium) + slide(length, count, models.slide_rounding)).tolist()
        complaint = f"systems.mlms.alignment.pooling.{medium} {how!r} needs "
        if how.startswith("cls") and not encoder.shape().summary_tokens:
            raise ValueError(
                f"{complaint}a class token, which encoder {encoder.name!r} does not have; pool "
                "'mean'"
            )
        if how.startswith("cls") and sent[0] != 0:
            raise ValueError(
                f"{complaint}the class token, which the slide leaves out; take "
                "systems.mlms.models.slide: all, or pool 'mean'"
            )
        if how.startswith("cls") and models.selection != "slide":
            raise ValueError(
                f"{complaint}the class token, which selection {models.selection!r} may not send; "
                "take systems.mlms.models.selection: slide, or pool 'mean'"
            )
        if how.startswith("cls") and getattr(encoder, "span", "first") == "whole":
            raise ValueError(
                f"{complaint}a class token for the whole sound, but each window of it has one of "
                "its own; take systems.mlms.models.audio_span (or the encoder's span): first, or "
                "pool 'mean'"
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
        """Warns of unknown words, of questions that are cut, and of frames sampled otherwise.

        Raises:
            ValueError: for answers that the language model cannot generate, for questions that are
                cut before they differ, or if there is nothing to align on.
        """
        from ...checkpoints.loading import load_tokenizer
        from ...vocabulary import TextLimit, check_questions, check_texts
        from .data_checks import warn_of_sampling

        split = task.alignment_split
        if self._aligns and split is not None and not any(samples[split]["caption"]):
            raise ValueError(
                f"system mlms aligns on captions, of which split {split!r} of task {task.name} has "
                "none; take alignment: none"
            )
        tokenizer = load_tokenizer(self.models.language_for(task.media))
        check_texts(tokenizer, task, samples, max_answer_tokens)
        limit = TextLimit(self.question_tokens, "question_tokens")
        check_questions(tokenizer, task, samples, limit)
        if self._takes_first_frames(task):
            warn_of_sampling(task, root)

    def data_settings(self, task: Task) -> frozenset[object]:
        reading = self.models.language_for(task.media), self.question_tokens
        parts = {"captions": self._aligns, "first frames": self._takes_first_frames(task)}
        return frozenset({reading, *(name for name, checked in parts.items() if checked)})

    def _takes_first_frames(self, task: Task) -> bool:
        encoders = [self.models.encoder(medium) for medium in self.swept_devices(task)]
        return any(getattr(encoder, "frames", "even") == "first" for encoder in encoders)

    def for_phase(self, phase: str) -> Mlms:
        if phase == ALIGNMENT:
            return self.model_copy(update={"fine_tuning": FineTuningConfig()})
        usual = FineTuningConfig()
        changes: dict[str, Any] = {
            "learning_rates": self.learning_rates,
            "reference_learning_rates": None,
        }
        if self.intact_texts:
            changes |= {"steps": usual.steps, "drop_modality": usual.drop_modality}
        else:
            changes |= {"reference_steps": usual.reference_steps}
        update = {
            "alignment": AlignmentConfig(),
            "fine_tuning": self.fine_tuning.model_copy(update=changes),
        }
        return self.model_copy(update=update)

    def reference(self, reference: Reference) -> Mlms:
        return self.model_copy(update={"intact_texts": reference.texts})

    @property
    def learning_rates(self) -> tuple[float, ...]:
        rates = self.fine_tuning.reference_learning_rates if self.intact_texts else None
        return rates or self.fine_tuning.learning_rates

    def at_learning_rate(self, learning_rate: float) -> Mlms:
        rates = {"learning_rates": (learning_rate,), "reference_learning_rates": None}
        return self.model_copy(update={"fine_tuning": self.fine_tuning.model_copy(update=rates)})

    @property
    def validation_loss(self) -> str:
        return "task" if self.fine_tuning.answer_loss == "all_tokens" else "first_token"

    def device_gflop(
        self,
        task: Task,
        device: str,
        tokens: Mapping[str, float],
        windows: Mapping[str, float],
        lengths: TokenLengths,
    ) -> float:
        """Operations of encoder, scorer and projection in 1e9; text is only looked up."""
        if device == TEXT or not tokens.get(device):
            return 0.0
        shape = self.models.encoder(device).shape()
        projection = self.token_width(task) * shape.width * tokens[device]
        scored = self.models.slid_length(device) if self.models.selection == "learned" else 0
        return shape.gflop(windows[device]) + 2e-9 * (projection + shape.width * scored)

    def station_gflop(self, task: Task, tokens: Mapping[str, float]) -> float:
        """Operations of receivers, foundation model and its head in 1e9.

        Receivers and the model's layers run over all tokens that are sent. The head runs once,
        where the prompt ends.
        """
        import torch

        from ...foundation import applied_weights
        from ...weights import matrix_weights
        from .receiver import token_receiver

        with torch.device("meta"):
            receiver = token_receiver(self, self.token_width(task))
        layers, head = applied_weights(self.models.language_for(task.media), self.lora.shape)
        applied = matrix_weights(receiver.parameters()) + layers
        return 2e-9 * (applied * sum(tokens.values()) + head)

    def token_width(self, task: Task) -> int:
        """Features of a token of the foundation model for a task, d_T."""
        from ...encoders.named import token_width

        return token_width(self.models.language_for(task.media))
