"""The contract of systems: what one paper proposes, split between devices and base station."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

from ..checkpoints import NamedCheckpoint
from ..config import Named
from ..datasets.samples import Samples
from ..features import AnyFeatures
from ..tasks.base import Reference, Task
from .methods import merged
from .phases import Phase
from .sides import STATION, Predictions, Receiver, Trained, Transmitter
from .streams import Stream

__all__ = [
    "STATION",
    "FeatureFolders",
    "Predictions",
    "Receiver",
    "Seeded",
    "System",
    "TokenLengths",
    "Trained",
    "Transmitter",
]

TokenLengths = Mapping[str, int]
"""Token length s_m of each device whose tokens a study sweeps."""

FeatureFolders = Mapping[str, Mapping[str, Path]]
"""Folders of a device's feature stores, by name (see :meth:`System.features`) and split."""

Seeded = Callable[..., AbstractContextManager[None]]
"""``seeded("receiver", name)`` runs a block under the seed of a role."""


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
    def merged(cls, settings: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
        """All of a study's settings for this system, with a method's own on top."""
        return merged(settings, cls.expanded(overrides))

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

    def swept_devices(self, task: Task) -> tuple[str, ...]:
        """Devices whose token lengths a study sets."""
        return ()

    def max_tokens(self, task: Task) -> dict[str, int]:
        """Maximum token length of each of :meth:`swept_devices`."""
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
            lengths: Token length of each of :meth:`swept_devices`.
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
