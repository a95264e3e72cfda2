"""What the systems of the DeepSC family have in common: devices, frozen features, phases, checks.

Our SNR is the average per complex symbol, with the valid symbols of each sample and stream at unit
power. T- and U-DeepSC's code has the same convention. DeepSC's code scales a whole batch to at most
unit power per real number and adds noise of variance 1 / (2 snr) per real number, so its nominal
10 dB is at most 13 dB of ours. Its Rayleigh fading has one gain for a whole batch; ours is up to
the air.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field, model_validator

from ...checkpoints import POCKET_IMAGES, NamedCheckpoint
from ...config import Config
from ...datasets.samples import Samples
from ...features import AnyFeatures, Sliding, TextFeatures, TextStates, features_of_datasets
from ...tasks.base import Task
from ..base import FeatureFolders, System, TokenLengths
from ..methods import merged
from ..phases import Phase, StreamInput
from ..sides import Transmitter
from ..streams import Stream
from .config import (
    IMAGE,
    SEMANTIC_CODEC,
    SMOKE_TRAINING,
    TEXT,
    AnswerConfig,
    EarlierTraining,
    ImageConfig,
    TextConfig,
    TrainingConfig,
    patches,
)
from .embeddings import PatchEmbedding
from .layers import task_names
from .published import BERT, CLIP

SEMANTIC, END_TO_END = "semantic", "end-to-end"


class DeepScSystem(System):
    """A system with a text device and, unless it reads text alone, an image device.

    The number of vectors that a device sends is a key of the system. Thus the token lengths of a
    study, which are for other systems, leave it as published.

    Attributes:
        text: What the text device sends: the last of the task's texts.
        answers: Closed set of answers.
        training: Training of the task, the last phase.
        dropout: Dropout of the receiver's transformer.
    """

    text: TextConfig
    answers: AnswerConfig
    training: TrainingConfig
    dropout: float = Field(default=0.1, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _on_top_of_defaults(cls, raw: Any) -> Any:
        """Keys inside a part, such as ``text.tokenizer``, leave its other keys as they are."""
        if not isinstance(raw, Mapping):
            return raw
        usual = {name: field.default for name, field in cls.model_fields.items()}
        parts = {
            name: usual[name].model_dump(mode="json")
            for name, value in raw.items()
            if isinstance(value, Mapping) and isinstance(usual.get(name), Config)
        }
        return merged(parts, raw)

    @property
    def image_config(self) -> ImageConfig | None:
        """What the image device sends; None if there is none."""
        return None

    def models(self, task: Task) -> int:
        """Number of models: one for each task, or a single one for all."""
        return 1

    def streams(self, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
        text, image = self.text, self.image_config
        asked = task.texts[-1]
        words = Stream(
            name=asked,
            device=TEXT,
            modality=TEXT,
            max_tokens=text.sent,
            symbols_per_token=text.code.reals // 2,
            text=asked,
            required=True,
            sends_scale=False,
        )
        if image is None:
            return (words,)
        patches = Stream(
            name=IMAGE,
            device=IMAGE,
            modality=IMAGE,
            max_tokens=image.sent,
            symbols_per_token=image.code.reals // 2,
            medium=IMAGE,
            sends_scale=False,
        )
        return patches, words

    def checkpoints(self, task: Task) -> tuple[NamedCheckpoint, ...]:
        image = self.image_config
        encoders = () if image is None else image.encoders.values()
        pretrained = (encoder.pretrained for encoder in encoders)
        return (NamedCheckpoint("language", self.text.tokenizer), *filter(None, pretrained))

    def served(self, task: Task) -> tuple[str, ...]:
        return tuple(stream.name for stream in self.streams(task, {}))

    def phases(self, task: Task) -> tuple[Phase, ...]:
        return (self.phase(task, END_TO_END, self.training, "task"),)

    def for_phase(self, phase: str) -> DeepScSystem:
        """Earlier phases do not depend on how the last one trains."""
        if phase == END_TO_END:
            return self
        usual = type(self).model_fields["training"].default
        return self.model_copy(update={"training": usual})

    def phase(self, task: Task, name: str, config: TrainingConfig, loss: str) -> Phase:
        """A phase over the air on the task's training split."""
        inputs = tuple(StreamInput(stream, task.train_split) for stream in self.served(task))
        return Phase(
            name=name,
            inputs=inputs,
            training=config.training,
            batch_size=config.batch_size,
            losses=(loss,),
        )

    def features(
        self, task: Task, device: str, tokens: TokenLengths
    ) -> dict[str, tuple[AnyFeatures, ...]]:
        if device == TEXT:
            columns = (task.texts[-1],)
            checkpoint, splits = self.text.tokenizer, self._splits(task)
            text: AnyFeatures = TextFeatures(columns=columns, checkpoint=checkpoint, splits=splits)
            if self.text.layer is not None:
                text = TextStates(
                    columns=columns,
                    checkpoint=checkpoint,
                    splits=splits,
                    layer=self.text.layer,
                    max_tokens=self.text.max_words,
                )
            return {TEXT: (text,)}
        image = self.image_config
        assert image is not None
        # for all splits, so that systems which read more of them share the store
        features: dict[str, tuple[AnyFeatures, ...]] = {}
        for name, encoder in image.encoders.items():
            sliding = Sliding(counts=(patches(encoder),), dtype=image.feature_dtype)
            features[name] = features_of_datasets(task, task.splits, IMAGE, encoder, sliding)
        return features

    def _splits(self, task: Task) -> tuple[str, ...]:
        return (task.train_split, task.validation_split, task.test_split)

    def transmitter(
        self,
        task: Task,
        device: str,
        tokens: TokenLengths,
        features: FeatureFolders,
        torch_device: str,
    ) -> Transmitter:
        from .transmitter import ImageTransmitter, TextTransmitter

        names, models, image = task_names(task), self.models(task), self.image_config
        if device == TEXT:
            return TextTransmitter(self.text, features[TEXT], names, models, torch_device)
        assert image is not None
        return ImageTransmitter(image, features, names, models, torch_device)

    def check(self, task: Task, tokens: TokenLengths) -> None:
        from ...checkpoints.configs import read_config

        if self.image_config is not None and IMAGE not in task.media:
            raise ValueError(f"system {self.name} needs an image of task {task.name}; take clevr")
        super().check(task, tokens)
        if self.text.layer is not None:
            config = read_config(self.text.tokenizer, "language").get_text_config()
            positions = getattr(config, "max_position_embeddings", self.text.max_words)
            if self.text.max_words > positions:
                raise ValueError(
                    f"text.max_words {self.text.max_words} is more than the {positions} tokens "
                    f"that {self.text.tokenizer!r} reads; take {positions} or less"
                )

    def check_data(
        self, task: Task, root: Path, samples: Mapping[str, Samples], max_answer_tokens: int
    ) -> None:
        """Warns of texts that are cut.

        Raises:
            ValueError: for texts that are cut before they differ.
        """
        from ...checkpoints.loading import load_tokenizer
        from ...vocabulary import TextLimit, check_questions

        tokenizer = load_tokenizer(self.text.tokenizer, answers=False)
        special = 0 if self.text.layer is None else tokenizer.num_special_tokens_to_add()
        limit = TextLimit(self.text.max_words, "text.max_words", special)
        check_questions(tokenizer, task, samples, limit)

    def data_settings(self, task: Task) -> frozenset[object]:
        text = self.text
        return frozenset({(text.tokenizer, text.layer is None, text.max_words)})

    @property
    def learning_rates(self) -> tuple[float, ...]:
        return self.training.learning_rates

    def at_learning_rate(self, learning_rate: float) -> DeepScSystem:
        training = self.training.model_copy(update={"learning_rates": (learning_rate,)})
        return self.model_copy(update={"training": training})

    def device_gflop(
        self,
        task: Task,
        device: str,
        tokens: Mapping[str, float],
        windows: Mapping[str, float],
        lengths: TokenLengths,
    ) -> float:
        """Operations of frozen encoders, semantic encoder and channel encoder in 1e9.

        A text counts as one of maximum length.
        """
        if device == TEXT:
            text, words = self.text, self.text.max_words
            macs = self._states + text.size.macs(words + (text.vectors or 0))
            return 2e-9 * (macs + text.sent * text.code.encoder_macs(text.size.width))
        image = self.image_config
        assert image is not None
        macs = PatchEmbedding.macs(image) + image.size.macs(image.length + (image.vectors or 0))
        macs += image.sent * image.code.encoder_macs(image.size.width)
        shapes = {name: encoder.shape() for name, encoder in image.encoders.items()}
        frozen = sum(shape.gflop(windows[name]) for name, shape in shapes.items())
        return frozen + 2e-9 * windows[IMAGE] * macs

    @property
    def _states(self) -> int:
        """Multiplications by a weight for the words' frozen states and their embedding.

        There are none for a learned embedding of words, which is only looked up.
        """
        text = self.text
        if text.layer is None:
            return 0
        from ...encoders.named import token_width
        from ...encoders.sizes import text_macs

        embedding = token_width(text.tokenizer) * text.size.width
        return text.max_words * (text_macs(text.tokenizer, text.layer) + embedding)

    def station_gflop(self, task: Task, tokens: Mapping[str, float]) -> float:
        """Operations of the receiver in 1e9, for a text of maximum length."""
        return 2e-9 * self.receiver_macs

    @property
    @abstractmethod
    def receiver_macs(self) -> int:
        """Multiplications by a weight that the receiver needs to answer a sample."""


class ImageAndTextSystem(DeepScSystem):
    """A system with both devices, whose semantic codec first learns the task without a channel.

    With noise from the beginning, DeepSC-VQA does not learn to find the object that a question
    means.

    Attributes:
        image: What the image device sends.
        semantic: Training of everything without a channel, at a constant learning rate; None for
            none. All airs share it.
    """

    image: ImageConfig
    semantic: EarlierTraining | None = SEMANTIC_CODEC

    PATHS: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("text", "tokenizer"),
        ("image", "encoder", "checkpoint"),
        ("image", "detail", "checkpoint"),
    )
    POCKET: ClassVar[dict[str, Any]] = {
        "text": {"tokenizer": POCKET_IMAGES},
        "image": {
            "encoder": {"name": "clip", "checkpoint": POCKET_IMAGES},
            "detail": {"name": "convnext", "checkpoint": POCKET_IMAGES, "stages": [2]},
        },
    }
    REAL: ClassVar[dict[str, Any]] = {
        "text": {"tokenizer": BERT},
        "image": {"encoder": CLIP, "detail": None},
    }
    SMOKE: ClassVar[dict[str, Any]] = {"semantic": SMOKE_TRAINING, "training": SMOKE_TRAINING}

    @property
    def image_config(self) -> ImageConfig:
        return self.image

    def phases(self, task: Task) -> tuple[Phase, ...]:
        whole = super().phases(task)
        if self.semantic is None:
            return whole
        first = self.phase(task, SEMANTIC, self.semantic, "task")
        constant = replace(first.training, schedule="constant_with_warmup")
        return (replace(first, training=constant, over_air=False), *whole)
