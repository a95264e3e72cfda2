"""The system of the TaiChi paper: a vision-language model cut between terminal and base station."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ...checkpoints import POCKET_IMAGES, NamedCheckpoint
from ...datasets.samples import Samples
from ...encoders import EncoderConfig
from ...features import AnyFeatures, Sliding, features_of_datasets
from ...tasks.base import Reference, Task
from ..base import FeatureFolders, Seeded, System, TokenLengths
from ..phases import Phase, StreamInput, Training
from ..sides import Receiver, Transmitter
from ..streams import Stream
from . import config as c
from .fusion import FusionConfig
from .methods import METHODS
from .names import (
    CODEC,
    CODING,
    DIALOGUE,
    OFF_AIR,
    PRETRAINING,
    PROMPT,
    SPLITS,
    STATES,
    TERMINAL,
    TEXT_TUNING,
    TUNING,
    VISUAL,
)
from .projectors import ProjectorConfig
from .sizes import query_grid, token_macs, visual_macs

if TYPE_CHECKING:
    from ...foundation import LoraShape


class Taichi(System):
    """Dual tokenizers, BAN, KAN projector, a split language model and a channel codec.

    Attributes:
        models: Frozen encoders, and the language model.
        fusion, projector: How the tokens of both encoders become visual tokens.
        transmitter_layers: Layers of the language model at the transmitter, k.
        decoding: ``one-way`` is the paper's: only the prompt's states cross the air, and generated
            tokens pass the base station's own first k layers, where they see only each other.
            ``relay`` is exact split inference: every generated token returns to the terminal, and
            its state crosses the air as well.
        order: Order of image and instruction in the prompt.
        coding: Training over the air. The codec first learns by the states' squared error; with
            ``mse``, by that alone. Then ``cross-entropy`` trains it by the answers' loss, with the
            vision-language model frozen; ``joint``, as in the paper, trains BAN, projector and
            codec whole, and the language model by LoRA. ``none`` trains nothing over the air and
            has no codec: the vision-language model stays as instruction tuning leaves it.
        codec: Channel encoder and decoder.
        language_tuning: Whether instruction tuning trains the language model whole (``full``) or
            its adapter (``lora``).
        lora: Low-rank adapter of the language model.
        instruction_tokens, caption_tokens, conversation_tokens, answer_tokens: Maximum number of
            tokens of an instruction, a reference's caption, a conversation after its image, and an
            answer in training; longer texts are cut.
        pretraining: Training of BAN and projector on image-text pairs, off the air.
        tuning: Supervised multitask instruction tuning, off the air, which also trains the language
            model.
        codec_training: Training of the codec by mean squared error of the states.
        coding_training: Last training over the air, by the loss of ``coding``.
        reference_training: The only training of a reference.
        intact_texts: Texts that a reference reads, intact and without an image.
    """

    name: Literal["taichi"] = "taichi"
    models: c.Models = c.Models()
    fusion: FusionConfig = FusionConfig()
    projector: ProjectorConfig = ProjectorConfig()
    transmitter_layers: int = Field(default=2, ge=0)
    decoding: c.Decoding = "one-way"
    order: c.Order = "image-first"
    coding: c.Coding = "joint"
    codec: c.CodecConfig = c.CodecConfig()
    language_tuning: Literal["full", "lora"] = "full"
    lora: c.LoraSettings = c.LoraSettings()
    instruction_tokens: int = Field(default=64, ge=1)
    caption_tokens: int = Field(default=256, ge=1)
    conversation_tokens: int = Field(default=512, ge=1)
    answer_tokens: int = Field(default=32, ge=1)
    pretraining: c.Pretraining = c.Pretraining()
    tuning: c.InstructionTuning = c.InstructionTuning()
    codec_training: c.CodecTraining = c.CodecTraining()
    coding_training: c.CodingTraining = c.CodingTraining()
    reference_training: c.ReferenceTraining = c.ReferenceTraining()
    intact_texts: tuple[Literal["caption", "instruction"], ...] = ()

    METHODS: ClassVar[dict[str, dict[str, Any]]] = METHODS
    PATHS: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("models", "language"),
        ("models", "low", "checkpoint"),
        ("models", "high", "checkpoint"),
    )
    DEFAULT_TOKENS: ClassVar[dict[str, int]] = {TERMINAL: 36}
    ANY_LENGTH: ClassVar[bool] = True
    POCKET: ClassVar[dict[str, Any]] = {
        "models": {
            "language": POCKET_IMAGES,
            "low": {"name": "clip", "checkpoint": POCKET_IMAGES},
            "high": {"name": "convnext", "checkpoint": POCKET_IMAGES},
        }
    }
    REAL: ClassVar[dict[str, Any]] = {
        "models": {
            "language": "google/gemma-2b-it",
            "low": {"name": "clip", "checkpoint": "openai/clip-vit-large-patch14-336"},
            "high": {
                "name": "convnext",
                "checkpoint": "timm/convnext_large_mlp.clip_laion2b_ft_320",
                "size_px": 768,  # Mini-Gemini's; the paper does not say
            },
        }
    }
    SMOKE: ClassVar[dict[str, Any]] = {
        phase: {"steps": 2, "batch_size": 8}
        for phase in (
            *("pretraining", "tuning", "reference_training"),
            *("codec_training", "coding_training"),
        )
    }

    @property
    def in_rounds(self) -> bool:
        return self.decoding == "relay" and not self.intact_texts

    @property
    def sends_scale(self) -> bool:
        """Whether the base station is told each sample's power, as states without a codec need."""
        return self.codec.sends_scale or self.codec.symbols_per_token is None

    @property
    def layers_below(self) -> int:
        """Layers of the language model at the transmitter; none in a reference."""
        return 0 if self.intact_texts else self.transmitter_layers

    @property
    def adapter(self) -> LoraShape | None:
        """The language model's adapter, if some phase trains one."""
        joint = self.coding == "joint" and not self.intact_texts
        return self.lora.shape if joint or self.language_tuning == "lora" else None

    @property
    def _encoders(self) -> dict[str, EncoderConfig]:
        """The frozen encoders that are read, by the names of their features."""
        every = {"low": self.models.low, "high": self.models.high}
        return {} if self.intact_texts else {name: every[name] for name in self.fusion.reads}

    @property
    def token_width(self) -> int:
        """Features of a token of the language model."""
        from ...encoders.named import token_width

        return token_width(self.models.language)

    def swept_devices(self, task: Task) -> tuple[str, ...]:
        return () if self.intact_texts else (TERMINAL,)

    def max_tokens(self, task: Task) -> dict[str, int]:
        """One visual token for each token of the low-resolution image, or for a block of them."""
        if self.intact_texts:
            return {}
        low, _ = self.models.grids()
        return {TERMINAL: low.rows * low.columns // self.projector.stride**2}

    def checkpoints(self, task: Task) -> tuple[NamedCheckpoint, ...]:
        pretrained = (encoder.pretrained for encoder in self._encoders.values())
        return (NamedCheckpoint("language", self.models.language), *filter(None, pretrained))

    def queries(self, count: int) -> tuple[int, int]:
        """Rows and columns of the fused tokens that become ``count`` visual tokens."""
        low, _ = self.models.grids()
        return query_grid(low, self.projector.stride, count)

    def streams(self, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
        from .codec import symbols_per_token
        from .prompts import count_markup

        width, markup = self.token_width, count_markup(self.models.language)
        stream = partial(Stream, device=TERMINAL, padding="left")
        if self.intact_texts:
            return (
                stream(
                    name=PROMPT,
                    modality="text",
                    max_tokens=self.caption_tokens + self.instruction_tokens + markup,
                    symbols_per_token=width // 2,
                    text="instruction",
                    required=True,
                ),
            )
        visual = tokens.get(TERMINAL, 0)
        whole = visual + self.instruction_tokens + markup
        states = partial(stream, modality="image+text", medium="image", text="instruction")
        coded = partial(
            states,
            symbols_per_token=symbols_per_token(self.codec, width),
            sends_scale=self.sends_scale,
        )
        streams = [
            stream(
                name=VISUAL,
                modality="image",
                max_tokens=visual,
                symbols_per_token=width // 2,
                medium="image",
            ),
            coded(name=PROMPT, max_tokens=whole, required=True),
            states(name=STATES, max_tokens=whole, symbols_per_token=width // 2),
        ]
        if self.in_rounds:
            streams.append(coded(name=DIALOGUE, max_tokens=whole + self.answer_tokens))
        return tuple(streams)

    def follows(self, phase: str) -> bool:
        return phase == TUNING

    def served(self, task: Task) -> tuple[str, ...]:
        return (PROMPT,)

    def phases(self, task: Task) -> tuple[Phase, ...]:
        if self.intact_texts:
            prompt = StreamInput(PROMPT, task.train_split)
            return (_phase(TEXT_TUNING, (prompt,), self.reference_training, _ANSWER),)
        phases = [
            _phase(name, (StreamInput(VISUAL, SPLITS[name]),), config, ("task",), over_air=False)
            for name, config in ((PRETRAINING, self.pretraining), (TUNING, self.tuning))
        ]
        train = task.train_split
        if self.codec.symbols_per_token is not None:
            inputs = (StreamInput(PROMPT, train), StreamInput(STATES, train, over_air=False))
            phases.append(_phase(CODEC, inputs, self.codec_training, ("reconstruction",)))
        if self.coding in ("cross-entropy", "joint"):
            answered = StreamInput(DIALOGUE if self.in_rounds else PROMPT, train)
            phases.append(_phase(CODING, (answered,), self.coding_training, _ANSWER))
        return tuple(phases)

    def features(
        self, task: Task, device: str, tokens: TokenLengths
    ) -> dict[str, tuple[AnyFeatures, ...]]:
        features: dict[str, tuple[AnyFeatures, ...]] = {}
        for name, encoder in self._encoders.items():
            shape = encoder.shape()
            every = (shape.length - shape.summary_tokens,)
            sliding = Sliding(counts=every, dtype=self.models.feature_dtype)
            features[name] = features_of_datasets(task, task.splits, "image", encoder, sliding)
        return features

    def transmitter(
        self,
        task: Task,
        device: str,
        tokens: TokenLengths,
        features: FeatureFolders,
        torch_device: str,
    ) -> Transmitter:
        from .transmitter import TaichiTransmitter

        queries = None if self.intact_texts else self.queries(tokens[TERMINAL])
        names = [phase.name for phase in self.phases(task)]
        return TaichiTransmitter(self, queries, features, names, torch_device)

    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        from .receiver import TaichiReceiver

        names = [phase.name for phase in self.phases(task)]
        return TaichiReceiver(self, seeded, names, torch_device, max_answer_tokens)

    def check(self, task: Task, tokens: TokenLengths) -> None:
        from ...checkpoints.configs import read_config

        needed = {"image", "instruction", "caption", *SPLITS.values()}
        missing = needed - {*task.splits, *task.media, *task.texts}
        if missing:
            raise ValueError(
                f"system taichi needs {', '.join(sorted(missing))} of task {task.name}; take an "
                "instruction task"
            )
        super().check(task, tokens)
        if self.adapter is not None:
            self.lora.check(self.models.language)
        if self.intact_texts:
            return
        self.queries(tokens[TERMINAL])
        layers = read_config(self.models.language, "language").get_text_config().num_hidden_layers
        if self.transmitter_layers >= layers:
            raise ValueError(
                f"transmitter_layers {self.transmitter_layers} leaves none of the language model's "
                f"{layers} layers to the base station; take 0 to {layers - 1}"
            )
        if self.coding == "none" and self.codec.symbols_per_token is not None:
            raise ValueError(
                f"coding 'none' leaves a codec of {self.codec.symbols_per_token} symbols a token "
                "untrained; take codec.symbols_per_token: null, or coding joint"
            )
        if self.coding == "none" and self.transmitter_layers:
            raise ValueError(
                f"coding 'none' leaves the language model whole, at the base station; take "
                f"transmitter_layers: 0 (got {self.transmitter_layers}), or coding joint"
            )
        if self.in_rounds and self.coding not in ("cross-entropy", "joint"):
            raise ValueError(
                f"decoding 'relay' is trained by coding joint or cross-entropy, not {self.coding!r}"
            )
        if self.codec.symbols_per_token is None and self.coding in ("mse", "cross-entropy"):
            raise ValueError(
                f"coding {self.coding!r} trains the channel codec alone, and "
                "codec.symbols_per_token null has none; take coding joint or some symbols per token"
            )

    def check_data(
        self, task: Task, root: Path, samples: Mapping[str, Samples], max_answer_tokens: int
    ) -> None:
        """Warns of words that the language model does not know, and of texts that are cut.

        Raises:
            ValueError: for answers that the model cannot generate, or instructions that are cut
                before they differ.
        """
        from ...checkpoints.loading import load_tokenizer
        from ...vocabulary import (
            TextLimit,
            check_conversations,
            check_questions,
            check_texts,
            check_training_answers,
        )
        from .prompts import read_markup

        tokenizer = load_tokenizer(self.models.language)
        check_texts(tokenizer, task, samples, max_answer_tokens)
        instruction = TextLimit(self.instruction_tokens, "instruction_tokens")
        check_questions(tokenizer, task, samples, instruction)
        answers = samples[task.train_split].answer
        limit = TextLimit(self.answer_tokens, "answer_tokens")
        check_training_answers(tokenizer, answers, limit)
        columns = [text for split in SPLITS.values() for text in samples[split]["conversation"]]
        limit = TextLimit(self.conversation_tokens, "conversation_tokens")
        markup = read_markup(tokenizer).count_turn
        check_conversations(tokenizer, [*map(json.loads, columns)], instruction, limit, markup)

    def data_settings(self, task: Task) -> frozenset[object]:
        lengths = self.instruction_tokens, self.answer_tokens, self.conversation_tokens
        return frozenset({(self.models.language, *lengths)})

    def for_phase(self, phase: str) -> Taichi:
        """This system, with defaults for what a phase does not depend on.

        The phases off the air have neither a codec nor layers at the transmitter.
        """
        usual = Taichi()
        keys = {"pretraining", "tuning", "codec_training", "coding_training", "reference_training"}
        trained = {
            PRETRAINING: "pretraining",
            TUNING: "tuning",
            CODEC: "codec_training",
            CODING: "coding_training",
            TEXT_TUNING: "reference_training",
        }[phase]
        update = {key: getattr(usual, key) for key in keys - {trained}}
        if phase != CODING:
            update |= {"coding": "mse", "decoding": usual.decoding}
            if self.language_tuning == "full":
                update["lora"] = usual.lora
        if phase not in (CODING, TEXT_TUNING):
            update |= {"answer_tokens": usual.answer_tokens}
        if phase not in OFF_AIR:
            update["conversation_tokens"] = usual.conversation_tokens
        if phase != TEXT_TUNING:
            update["caption_tokens"] = usual.caption_tokens
        if phase in (*OFF_AIR, TEXT_TUNING):
            update |= {"transmitter_layers": 0, "codec": c.CodecConfig(symbols_per_token=None)}
        return self.model_copy(update=update)

    def reference(self, reference: Reference) -> Taichi:
        codec = c.CodecConfig(symbols_per_token=None)
        return self.model_copy(update={"intact_texts": reference.texts, "codec": codec})

    @property
    def validation_loss(self) -> str:
        return "first_token" if self.in_rounds else "task"

    def device_gflop(
        self,
        task: Task,
        device: str,
        tokens: Mapping[str, float],
        windows: Mapping[str, float],
        lengths: TokenLengths,
    ) -> float:
        """Operations of encoders, fusion, projector, layers and channel encoder in 1e9."""
        if self.intact_texts or not tokens.get(device):
            return 0.0
        encoders: float = sum(
            encoder.shape().gflop(windows[name]) for name, encoder in self._encoders.items()
        )
        visual, images = visual_macs(self, lengths[device]), next(iter(windows.values()))
        return encoders + 2e-9 * (visual * images + token_macs(self).terminal * tokens[device])

    def station_gflop(self, task: Task, tokens: Mapping[str, float]) -> float:
        """Operations of channel decoder, upper layers and head in 1e9.

        Channel decoder and layers run over all tokens that are sent. The head runs once, where the
        prompt ends.
        """
        macs = token_macs(self)
        return 2e-9 * (macs.station * sum(tokens.values()) + macs.head)


_ANSWER = ("task", "first_token")


def _phase(
    name: str,
    inputs: tuple[StreamInput, ...],
    config: c.PhaseConfig,
    losses: tuple[str, ...],
    over_air: bool = True,
) -> Phase:
    """A phase of AdamW and the paper's cosine schedule."""
    training = Training(
        config.steps,
        config.learning_rate,
        "cosine_with_min_lr",
        min_learning_rate=0.0,
        warmup_steps=round(config.warmup_fraction * config.steps),
        gradient_clip=config.gradient_clip,
        station_learning_rate=config.station_learning_rate,
        weight_decay=config.weight_decay,
    )
    return Phase(
        name=name,
        inputs=inputs,
        training=training,
        batch_size=config.batch_size,
        losses=losses,
        over_air=over_air,
        micro_batch_size=config.micro_batch_size,
    )
