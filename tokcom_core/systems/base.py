"""The contract of systems: what one paper proposes, split between devices and base station.

Shapes: ``B`` samples of a batch, ``N`` complex symbols of a stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..checkpoints import NamedCheckpoint
from ..config import Named
from ..datasets.samples import Samples
from ..features import AnyFeatures
from ..storage import check_saved
from ..tasks.base import Reference, Task
from .methods import merged
from .phases import Phase
from .streams import Feedback, Received, Stream

TokenLengths = Mapping[str, int]
"""Token length s_m of each device whose tokens a study sweeps."""

FeatureFolders = Mapping[str, Mapping[str, Path]]
"""Folders of a device's feature stores, by name (see :meth:`System.features`) and split."""

STATION = "station"
"""Name under which the base station saves its side, beside those of the devices."""

Seeded = Callable[..., AbstractContextManager[None]]
"""``seeded("receiver", name)`` runs a block under the seed of a role."""


@dataclass(frozen=True)
class Predictions:
    """Predicted answers to a batch.

    Attributes:
        texts: Text of each answer.
        first_token: Whether the first token of each answer is that of the true answer, which is
            what paper 1 counts.
        losses: Mean losses of the true answers: ``task``, ``first_token``, or others of the last
            phase.
        loss_counts: Number of values that a loss is the mean of, by the loss's name. Only losses
            that average something other than samples, such as answer tokens, have one.
    """

    texts: tuple[str, ...]
    first_token: tuple[bool, ...]
    losses: dict[str, float]
    loss_counts: dict[str, int] = field(default_factory=dict)


class Trained(nn.Module):
    """One side of the split: its trainable parameters and their files."""

    @abstractmethod
    def trainable(self, phase: str) -> list[nn.Parameter]:
        """The parameters that a phase trains; may be none."""

    def begin(self, phase: str) -> None:
        """Prepares for a phase; by default, sets the modules to training mode."""
        self.train()

    def trained_state(self) -> dict[str, Tensor]:
        """Every tensor that some phase trains, by name, on the CPU."""
        return {
            name: p.detach().cpu().clone() for name, p in self.named_parameters() if p.requires_grad
        }

    def save(self, folder: Path, name: str) -> None:
        """Saves :meth:`trained_state` as safetensors."""
        state = {key: value.contiguous() for key, value in self.trained_state().items()}
        save_file(state, folder / f"{name}.safetensors")

    def load(self, folder: Path, name: str) -> None:
        """Loads what :meth:`save` saved.

        Raises:
            ValueError: for the weights of another network, or not all of this one's.
        """
        own = {key: p for key, p in self.named_parameters() if p.requires_grad}
        saved = load_file(folder / f"{name}.safetensors")
        check_saved(saved, own)
        for key, value in saved.items():
            own[key].data.copy_(value)


class Transmitter(Trained, ABC):
    """The side of a device: frozen tokens in, symbols out."""

    @abstractmethod
    def read(self, stream: str, split: str, samples: Samples) -> tuple[Tensor, ...]:
        """Frozen inputs of a batch, each ``[B, ...]``."""

    def set_length(self, count: int) -> None:
        """Sets the token length of all that is read and sent from now on.

        See :attr:`System.ANY_LENGTH`.
        """
        raise NotImplementedError(f"{type(self).__name__} has one token length")

    def follow(self, station: Mapping[str, Tensor]) -> None:
        """Takes over weights from the base station's trained state, see :meth:`System.follows`."""
        raise NotImplementedError(f"{type(self).__name__} follows no phase")

    @abstractmethod
    def forward(self, stream: str, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Symbols of any power, complex64 ``[B, N]``, and which are valid, bool ``[B, N]``."""

    def reply(self, feedback: Feedback) -> tuple[Tensor, Tensor]:
        """Symbols ``[A, N]`` of the next round and which are valid, see :meth:`System.in_rounds`.

        The samples are some of those that were sent last. Replies are never trained on.
        """
        raise NotImplementedError(f"{type(self).__name__} sends everything in one round")


class Receiver(Trained, ABC):
    """The side of the base station: received streams in, losses or answers out."""

    def calibrate(self, phase: str, received: Mapping[str, Received]) -> None:
        """Adapts to some samples of a phase, before its first step."""

    @abstractmethod
    def losses(
        self, phase: str, received: Mapping[str, Received], targets: Mapping[str, Samples]
    ) -> dict[str, Tensor]:
        """Losses of one step: their sum is minimised; a detached loss is only reported.

        Args:
            phase: Name of the phase.
            received: Received streams by name.
            targets: Samples of the batch by split.
        """

    def loss_counts(self, phase: str, targets: Mapping[str, Samples]) -> dict[str, int]:
        """Number of values that each of :meth:`losses` is the mean of, by the loss's name.

        Losses that are means over samples are left out. The counts weigh the losses of a batch's
        parts when they are combined into that of the batch, see :attr:`Phase.micro_batch_size`.

        Args:
            phase: Name of the phase.
            targets: Samples of the part by split; all of them are taken to arrive.
        """
        return {}

    def embeddings(self, received: Mapping[str, Received]) -> dict[str, Tensor]:
        """Embeddings ``[B, D]`` of streams that a phase aligns, see :attr:`Phase.aligned`.

        The phase's losses compare them by the cosine of the angle between them.
        """
        raise NotImplementedError(f"{type(self).__name__} aligns no streams")

    @abstractmethod
    def predict(
        self, received: Mapping[str, Received], targets: Samples, asked: Tensor
    ) -> Predictions | Feedback:
        """Answers the samples that are ``asked``, bool ``[B]``; targets only score the answers.

        The losses are those of the same samples. A system that answers in rounds may return
        feedback instead, which a device needs to go on.
        """

    def resume(self, received: Mapping[str, Received]) -> Predictions | Feedback:
        """Goes on with the answers, given the device's reply to the last feedback."""
        raise NotImplementedError(f"{type(self).__name__} answers in one round")

    def prepare(self, train: Samples) -> None:
        """Takes what it needs from the training split, such as its answers.

        This is called once, after the receiver is built.
        """


class System(Named, ABC):
    """What one paper proposes, as a study names it.

    Attributes:
        METHODS: Methods of this system by short name: settings of the system and the
            ``transport`` of its streams.
        PATHS: Keys, as tuples of their parts, whose values are checkpoints by name or folder.
        DEFAULT_TOKENS: Default token lengths.
        ANY_LENGTH: Whether no weight depends on the token lengths, so that each step of a training
            may use different ones, see :meth:`Transmitter.set_length`.
        POCKET: Settings with the pocket checkpoints.
        REAL: Settings with the checkpoints of its paper.
        SMOKE: Settings that give every phase as few steps as possible.
    """

    METHODS: ClassVar[dict[str, dict[str, Any]]] = {}
    PATHS: ClassVar[tuple[tuple[str, ...], ...]] = ()
    DEFAULT_TOKENS: ClassVar[dict[str, int]] = {}
    ANY_LENGTH: ClassVar[bool] = False
    POCKET: ClassVar[dict[str, Any]] = {}
    REAL: ClassVar[dict[str, Any]] = {}
    SMOKE: ClassVar[dict[str, Any]] = {}

    @classmethod
    def expanded(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings with short forms written out, so that they can be merged."""
        return raw

    @classmethod
    def merged(cls, settings: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
        """All of a study's settings for this system, with a method's own on top."""
        return merged(settings, cls.expanded(own))

    @abstractmethod
    def streams(self, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
        """All streams of all phases and the test."""

    @abstractmethod
    def served(self, task: Task) -> tuple[str, ...]:
        """Names of the streams that a test sample consists of, in order."""

    @abstractmethod
    def phases(self, task: Task) -> tuple[Phase, ...]:
        """The phases in order; the last one trains the task."""

    @abstractmethod
    def transmitter(
        self,
        task: Task,
        device: str,
        tokens: TokenLengths,
        features: FeatureFolders,
        torch_device: str,
    ) -> Transmitter:
        """The side of a device; weights are drawn from torch's global generator."""

    @abstractmethod
    def receiver(
        self,
        task: Task,
        seeded: Seeded,
        tokens: TokenLengths,
        torch_device: str,
        max_answer_tokens: int,
    ) -> Receiver:
        """The side of the base station; each part is drawn under a seed of its own role."""

    def checkpoints(self, task: Task) -> tuple[NamedCheckpoint, ...]:
        """The named checkpoints that devices and base station load."""
        return ()

    @property
    def in_rounds(self) -> bool:
        """Whether devices and base station take turns during an answer, see :class:`Feedback`."""
        return False

    def budgets(self, task: Task) -> tuple[str, ...]:
        """Devices whose token lengths a study sets."""
        return ()

    def max_tokens(self, task: Task) -> dict[str, int]:
        """Maximum token length of each of :meth:`budgets`."""
        return {}

    def features(
        self, task: Task, device: str, tokens: TokenLengths
    ) -> dict[str, tuple[AnyFeatures, ...]]:
        """Frozen tokens that a device reads, by names of the system's choice.

        Each name has one entry for each data set.
        """
        return {}

    def tokens_for(self, task: Task, phase: Phase, tokens: TokenLengths) -> dict[str, int]:
        """The token lengths that a phase depends on; all of them by default."""
        return dict(tokens)

    def check(self, task: Task, tokens: TokenLengths) -> None:
        """Raises ValueError for invalid token lengths and settings, before anything runs."""
        for device, available in self.max_tokens(task).items():
            if tokens[device] > available:
                raise ValueError(
                    f"tokens.{device} {tokens[device]} is beyond the encoder's {available} tokens"
                )

    def check_data(
        self, task: Task, root: Path, samples: Mapping[str, Samples], max_answer_tokens: int
    ) -> None:
        """Raises ValueError for data that cannot be learnt; warns of suspicious data."""

    def data_settings(self, task: Task) -> frozenset[object]:
        """The settings that :meth:`check_data` depends on; all of them by default.

        A study does not check its data for a method whose settings are among those of another
        method with the same class of system.
        """
        return frozenset({self.model_dump_json()})

    def for_phase(self, phase: str) -> System:
        """This system, with defaults for settings that a phase does not depend on."""
        return self

    def reference(self, reference: Reference) -> System | None:
        """This system as a reference, which reads intact texts alone; None if it cannot be one."""
        return None

    def follows(self, phase: str) -> bool:
        """Whether devices have copies of weights that a phase trains at the base station alone."""
        return False

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """Learning rates to choose from for the last phase; empty if there is no choice."""
        return ()

    def at_learning_rate(self, learning_rate: float) -> System:
        """This system with one learning rate of the last phase."""
        raise ValueError(f"system {self.name} has no learning rates to choose from")

    @property
    def validation_loss(self) -> str:
        """Name of the test loss that a learning rate is chosen by."""
        return "task"

    def device_gflop(
        self,
        task: Task,
        device: str,
        tokens: Mapping[str, float],
        windows: Mapping[str, float],
        lengths: TokenLengths,
    ) -> float:
        """Floating-point operations of a device for one sample, in 1e9.

        Multiplications by a weight count, with their additions: each weight as often as it is
        applied, at every token or place. Attention's products of tokens with tokens do not count.

        Args:
            task: Task of the samples.
            device: Name of the device.
            tokens: Mean number of tokens that each device sends.
            windows: Mean number of the encoder's windows, by the name of the features.
            lengths: Token length of each device of the budgets.
        """
        return 0.0

    def station_gflop(self, task: Task, tokens: Mapping[str, float]) -> float:
        """Floating-point operations of the base station for one sample, in 1e9.

        They are counted as those of a device, up to the first token of an answer: how many tokens
        follow is not known in advance. Plans need this number too, so it is derived from settings
        and checkpoint configurations alone, without loading weights.

        Args:
            task: Task of the samples.
            tokens: Mean number of tokens that each device sends.
        """
        return 0.0
