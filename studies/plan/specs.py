"""Specs: everything that one artifact or one cell of a study depends on."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from actors import EmulationConfig, Federation, UserPopulation, share_of
from channel_models import Link, NamedAir, SnrRange
from tokcom_core.features import AnyFeatures, MediaFeatures
from tokcom_core.systems import NamedSystem, Phase, Stream, System, Transport, devices_of
from tokcom_core.tasks import NamedTask, Task

from .artifact_spec import Spec
from .compute import Compute
from .evaluation import Metric
from .token_lengths import TokenLengths


def _is_none(value: Any) -> bool:
    return value is None


class FeaturesSpec(Spec):
    """Frozen tokens, at all token lengths that the study needs."""

    data: str
    task: NamedTask
    features: AnyFeatures

    @property
    def title(self) -> str:
        """What the tokens are made of, and by which model."""
        if isinstance(self.features, MediaFeatures):
            return f"{self.features.medium} by encoder {self.features.encoder.name}"
        return f"{self.features.kind} by {self.features.checkpoint}"


class Crossing(Spec):
    """The channel between devices and base station.

    Attributes:
        air: Air of the study.
        link: Link, without keys that do not affect the channel.
        snr_db: Average SNR, or a range of them; NaN where a link budget decides.
        transport: Transport of the streams that are not ``analog``.
        population: Users that are scheduled on the air; None for a single user.
    """

    air: NamedAir
    link: Link
    snr_db: float | SnrRange
    transport: dict[str, Transport]
    population: UserPopulation | None = None

    @property
    def bits_per_value(self) -> int | None:
        """Bits of each value of the tokens that travel as packets; None if none do."""
        digital = self.air.digital
        return digital.bits if digital and "digital" in self.transport.values() else None


class PhaseSpec(Spec):
    """One trained phase of a system.

    Attributes:
        data: Name of the data by their content.
        task: Task of the study.
        system: System, with defaults for settings that the phase does not depend on.
        phase: Name of the phase.
        parent: Phase whose weights this one starts from; None for fresh weights.
        tokens: Token length of each device in the phase; the longest of ``any_tokens``.
        seed: Seed of weights, batches and noise.
        federation: Users that the samples are divided among, if any.
        crossing: Crossing of the streams; None for a phase that does not cross the air.
        any_tokens: At least two sets of token lengths, of which every step draws one; None if all
            steps have the same. None is left out of the key, so that earlier artifacts keep their
            names.
    """

    data: str
    task: NamedTask
    system: NamedSystem
    phase: str
    parent: PhaseSpec | None
    tokens: TokenLengths
    seed: int
    federation: Federation | None
    crossing: Crossing | None
    any_tokens: tuple[TokenLengths, ...] | None = Field(default=None, exclude_if=_is_none)

    @property
    def kind(self) -> str:
        return self.phase

    @property
    def inputs(self) -> tuple[Spec, ...]:
        return () if self.parent is None else (self.parent,)

    @property
    def definition(self) -> Phase:
        """The phase as its system defines it, with the token lengths that it draws."""
        found = phase_of(self.system, self.task, self.phase)
        return replace(found, any_tokens=self.any_tokens or ())

    @property
    def step_tokens(self) -> tuple[TokenLengths, ...]:
        """The token lengths that its steps have, all equally likely."""
        return self.any_tokens or (self.tokens,)

    def with_seed(self, seed: int) -> PhaseSpec:
        """The phase, and all before it, at another seed."""
        parent = None if self.parent is None else self.parent.with_seed(seed)
        return self.model_copy(update={"seed": seed, "parent": parent})

    def user_link(self, link: Link) -> Link:
        """The link of one user of the phase, who may share the band with others."""
        population = None if self.crossing is None else self.crossing.population
        if population is None:
            return link
        devices = devices_of(self.system.streams(self.task, self.tokens))
        return share_of(link, population.users_at_once, len(devices))

    @property
    def lineage(self) -> tuple[PhaseSpec, ...]:
        """All phases up to this one."""
        return (*(() if self.parent is None else self.parent.lineage), self)


class ValidationSpec(Spec):
    """Validation loss of a trained network, to choose a learning rate by."""

    trained: PhaseSpec
    crossing: Crossing

    @property
    def inputs(self) -> tuple[Spec, ...]:
        return (self.trained,)


class Cell(Spec):
    """One point of the study: a trained network under one link, at every evaluation SNR.

    With ``emulate``, many users ask the test questions instead of one. ``reference`` is the name of
    the reference that the cell is, if it is one. ``tokens`` are the token lengths of the test, if
    the network was trained for others as well.
    """

    study: str
    method: str
    reference: str | None
    trained: PhaseSpec
    crossing: Crossing
    nominal_snr_db: float | SnrRange | Literal["matched"]
    eval_snr_db: tuple[float, ...]
    eval_air_snr_db: tuple[float, ...]
    bandwidth_hz: float
    air_label: str
    deadline_ms: float | None
    questions: int | None
    batch_size: int
    max_answer_tokens: int
    metric: Metric
    emulate: EmulationConfig | None
    tokens: TokenLengths | None = Field(default=None, exclude_if=_is_none)
    compute: Compute = Field(default=Compute(), exclude_if=lambda own: own == Compute())

    @property
    def inputs(self) -> tuple[Spec, ...]:
        return (self.trained,)

    @property
    def system(self) -> System:
        """The system as its last phase trained it."""
        system: System = self.trained.system
        return system

    @property
    def task(self) -> Task:
        task: Task = self.trained.task
        return task

    @property
    def seed(self) -> int:
        return self.trained.seed

    def with_seed(self, seed: int) -> Cell:
        """The cell at another seed."""
        return self.model_copy(update={"trained": self.trained.with_seed(seed)})

    @property
    def tested(self) -> PhaseSpec:
        """The last phase at the token lengths of the test."""
        if self.tokens is None:
            return self.trained
        return self.trained.model_copy(update={"tokens": self.tokens})

    @property
    def users(self) -> int:
        """Number of users who ask."""
        return 1 if self.emulate is None else self.emulate.users

    @property
    def max_tx_power_dbm(self) -> float | None:
        """Maximum transmit power of a device; None for a reference, whose air has no noise."""
        return None if self.reference is not None else self.crossing.link.tx_power_dbm

    @property
    def bits_per_value(self) -> int | None:
        """Bits of a value in packets of the test, or else of the training; None without packets."""
        crossings = (self.crossing, *(phase.crossing for phase in self.trained.lineage))
        found = (own.bits_per_value for own in crossings if own is not None)
        return next((bits for bits in found if bits is not None), None)

    @cached_property
    def evaluation(self) -> str:
        """Name of the evaluation; cells that differ only in their deadline share it."""
        return self.model_copy(update={"deadline_ms": None}).key


def phase_of(system: System, task: Task, name: str) -> Phase:
    """A phase of a system by its name."""
    (wanted,) = (phase for phase in system.phases(task) if phase.name == name)
    return wanted


def streams_of(system: System, task: Task, tokens: TokenLengths, phase: Phase) -> list[Stream]:
    """The streams that a phase sends, in their order."""
    by_name = {stream.name: stream for stream in system.streams(task, tokens)}
    return [by_name[stream_input.stream] for stream_input in phase.inputs]
