"""The study, as one validated, frozen config."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from actors import (
    Engine,
    EngineName,
    Federation,
    InlineEngine,
    PlacementStrategy,
    RayEngine,
    Role,
    Share,
)
from channel_models import AirBase, Link, NamedAir, SnrRange
from tokcom_core.checkpoints import NamedCheckpoint
from tokcom_core.config import Config, Named, listed, refuse_truth_for_number
from tokcom_core.datasets.data import Data, MiniMusic
from tokcom_core.devices import pick_device
from tokcom_core.errors import in_one_line
from tokcom_core.systems import (
    DEFAULT_METHODS,
    SYSTEMS,
    Method,
    System,
    Systems,
    method_keys,
    system_class,
    system_of,
)
from tokcom_core.tasks import Avqa, NamedTask, Task

from ..errors import explain
from .claims import Claim
from .compute import Compute
from .lists import GRID, SEVERAL
from .loggers import NamedLogger, one_of_each
from .models import ModelsName, with_models
from .paths import resolve_checkpoints
from .recipes import RecipeName, with_recipe
from .smoke import Scale, smoked
from .swept import AnyDigital, AnyEmulation, SweptDigital, SweptEmulation, SweptLink, check_mcs

_HIGHEST_SNR_DB = 100
"""An SNR above it, or below its negative, was not meant in dB."""


def _an_snr(value: float) -> float:
    if math.isnan(value) or (abs(value) > _HIGHEST_SNR_DB and value != math.inf):
        raise ValueError(
            f"an SNR in dB is from {-_HIGHEST_SNR_DB} to {_HIGHEST_SNR_DB}, or .inf for no noise"
        )
    return value + 0.0  # -0 is 0


Snr = Annotated[float, AfterValidator(_an_snr)]


def _of_snrs(values: SnrRange) -> SnrRange:
    return SnrRange(low=_an_snr(values.low), high=_an_snr(values.high))


Snrs = Annotated[SnrRange, AfterValidator(_of_snrs)]

Matched = Literal["matched"]
"""A network for each evaluated SNR, trained at it."""


class TrainingSnr(NamedTuple):
    """Nominal SNR of a training, or a range, and the SNRs that the network is evaluated at."""

    snr_db: float | SnrRange
    eval_snr_db: tuple[float, ...]
    matched: bool = False


_SEEDS = 2**63
"""Number of seeds that the tables can hold."""


Metric = Literal["exact", "first_token"]


class EvaluationConfig(Config):
    """Evaluation of cells on test questions.

    With the metric ``exact``, ``accuracy`` is the mean of the task's scores of generated answers
    (for most tasks, whether they equal the true one). With ``first_token``, it is the fraction of
    answers that begin with the true one's first token. Answers longer than ``max_answer_tokens``
    are cut.
    """

    metric: Metric = "exact"
    max_answer_tokens: int = Field(default=8, ge=1)
    batch_size: int = Field(default=128, ge=1)
    questions: int | None = Field(default=None, ge=1)


class Resources(Config):
    """Resources of one trial, or of one device pool of an emulation.

    As many trials run at once as there is room for. With ``engine: inline``, ``gpu`` is that of the
    whole trial. With ``engine: ray`` it is that of the base station, and every process of devices
    takes ``device_gpu`` as well. ``placement`` is how Ray places the processes of an emulation.
    """

    cpu: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    gpu: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    device_gpu: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    placement: PlacementStrategy = "PACK"

    @property
    def threads(self) -> int:
        """Torch threads of each process; results can depend on their number in the last bit."""
        return max(1, int(self.cpu))

    def gpus(self, engine: EngineName) -> dict[str, float]:
        """GPUs of each kind of process that an engine has, by the key that sets them."""
        own = {"gpu": self.gpu}
        return own if engine == "inline" else {**own, "device_gpu": self.device_gpu}

    def engine(
        self,
        name: EngineName,
        emulates: bool = False,
        prepare: Callable[[], None] | None = None,
    ) -> Engine:
        """The engine of a network; device pools of an emulation have CPUs of their own."""
        if name == "inline":
            return InlineEngine()
        shares: dict[Role, Share] = {
            "station": Share(gpu=self.gpu),
            "devices": Share(cpu=self.cpu if emulates else 0.0, gpu=self.device_gpu),
        }
        placement = self.placement if emulates else None
        return RayEngine(threads=self.threads, shares=shares, placement=placement, prepare=prepare)


Deadline = Annotated[float, Field(gt=0)] | None
"""Deadline of a question in ms; None if there is none."""

TokenBudget = dict[str, Annotated[int, Field(ge=1)]]
"""Token length of each device whose length a study sets."""


_RESOLVED = "resolved"
"""Key of a validation's context that tells that checkpoints are resolved already."""


class Study(Config):
    """A grid over methods, airs, budgets and seeds; see ``docs/studies.md`` for every key.

    Relative folders of checkpoints start from the current folder.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    claims: tuple[Claim, ...] = ()
    recipe: RecipeName | None = None
    models: ModelsName | None = None
    scale: Scale = "full"
    data: Data = Data(minimusic=MiniMusic())
    task: NamedTask = Avqa()
    systems: Systems = Systems()
    methods: Annotated[tuple[Method, ...], *SEVERAL] = Field(
        default=DEFAULT_METHODS, validate_default=True
    )
    airs: Annotated[tuple[NamedAir, ...], *SEVERAL] = Field(
        default=("awgn",), validate_default=True
    )
    train_snr_db: Annotated[tuple[Matched | Snr | Snrs, ...], *SEVERAL] = (10.0,)
    eval_snr_db: Annotated[tuple[Snr, ...], *SEVERAL] = (10.0,)
    bandwidth_hz: Annotated[
        tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], *SEVERAL
    ] = (5e6,)
    tokens: Annotated[tuple[TokenBudget, ...], *GRID] = Field(
        default_factory=lambda known: (_default_tokens(known),)
    )
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=_SEEDS)], ...], *SEVERAL] = (0,)
    digital: AnyDigital = SweptDigital()
    link: SweptLink = SweptLink()
    power_mode: Literal["fixed_psd", "fixed_power"] = "fixed_psd"
    reference_bandwidth_hz: float = Field(default=5e6, gt=0, allow_inf_nan=False)
    deadline_ms: Annotated[tuple[Deadline, ...], *SEVERAL] = (None,)
    deadline_policy: Literal["late", "fit"] = "late"
    compute: Compute = Compute()
    federation: Federation | None = None
    evaluation: EvaluationConfig = EvaluationConfig()
    emulate: AnyEmulation | None = None
    engine: EngineName = "inline"
    device: str = "auto"
    resources: Resources = Resources()
    loggers: Annotated[
        tuple[NamedLogger, ...], BeforeValidator(listed), AfterValidator(one_of_each)
    ] = ()

    @classmethod
    def resolved(cls, **keys: Any) -> Study:
        """The study of plain data whose paths are absolute already, such as those of a file.

        Its other names of checkpoints are those of the Hub, whatever the current folder holds.
        """
        study = cls.model_validate(keys, context={_RESOLVED: True})
        refuse_truth_for_number(keys, study)
        return study

    @model_validator(mode="before")
    @classmethod
    def _with_absolute_checkpoints(cls, raw: Any, info: ValidationInfo) -> Any:
        if not isinstance(raw, dict) or (info.context or {}).get(_RESOLVED):
            return raw
        return resolve_checkpoints(raw, Path.cwd())

    @model_validator(mode="before")
    @classmethod
    def _by_its_recipe(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        misplaced = raw.keys() - cls.model_fields.keys()
        if isinstance(raw.get("models"), dict):  # those of a system, not a name
            misplaced |= {"models"}
        if "rehearse" in misplaced:
            raise ValueError("no key 'rehearse' any more; leave it out, or take models: pocket")
        if "train_tokens" in misplaced:
            raise ValueError(
                "train_tokens is a key of a method: methods: [{name: ..., train_tokens: any}]"
            )
        for key in misplaced:
            owners = [name for name, system in SYSTEMS.items() if key in system.model_fields]
            if owners:
                raise ValueError(f"no key {key!r}; did you mean 'systems.{owners[0]}.{key}'?")
        if raw.keys() & {"recipe", "models", "scale"}:
            raw = {key: _in_keys(value) for key, value in raw.items()}
        found = with_models(with_recipe(raw))
        return smoked(found) if found.get("scale") == "smoke" else found

    @field_validator("methods", mode="before")
    @classmethod
    def _without_references(cls, methods: Any, info: ValidationInfo) -> Any:
        """Drops references, which every study has anyway, and replaces a system by its keys."""
        task: Task | None = info.data.get("task")
        names = _reference_names(task) if task else ()
        given = [method_keys(m) if isinstance(m, System) else m for m in listed(methods)]
        found = [m for m in given if not (isinstance(m, str) and m in names)]
        if given and not found:
            raise ValueError(
                f"{', '.join(map(str, given))}: references, which every study has anyway; take a "
                f"method beside them, such as {DEFAULT_METHODS[0]}"
            )
        return found

    @model_validator(mode="after")
    def _fits_together(self) -> Study:
        self._check_methods()
        _check_labels("airs", [air.label for air in self.airs])
        self._check_powers()
        if self.deadline_policy == "fit" and not any(self.deadline_ms):
            raise ValueError("deadline_policy fit needs a deadline_ms to fit")
        if self.emulate is not None:
            self._check_emulation(self.emulate)
        return self

    def _check_methods(self) -> None:
        """Raises ValueError for labels or settings that methods cannot have, and wrong budgets."""
        labels = [method.label for method in self.methods]
        _check_labels("methods", labels)
        if taken := sorted({*labels} & {*_reference_names(self.task)}):
            raise ValueError(
                f"methods: label {taken[0]!r} is that of a reference, which every study has; give "
                "the method another 'label'"
            )
        budgets: list[str] = []
        for method in self.methods:
            system = self.system(method)
            with in_one_line(type(system), "swept_devices()"):
                own = system.swept_devices(self.task)
            budgets += [name for name in own if name not in budgets]
        for number, tokens in enumerate(self.tokens):
            if set(tokens) != set(budgets):
                remedy = (
                    f"should have a length for {' and '.join(budgets)}, and no other"
                    if budgets
                    else "names devices that no method has; take tokens: [{}]"
                )
                raise ValueError(f"tokens.{number}: {tokens} {remedy}")

    def _check_powers(self) -> None:
        """Raises ValueError for several transmit powers on an air whose SNR ignores them."""
        for air in self.airs:
            if len(self.link.tx_power_dbm) > 1 and air.sets_snr:
                raise ValueError(
                    f"link.tx_power_dbm has {len(self.link.tx_power_dbm)} values, but air "
                    f"{air.label!r} has the SNR that it is asked for, at any power; take one, "
                    "eval_snr_db, or airs with a link budget, such as umi"
                )

    def _check_emulation(self, emulate: SweptEmulation) -> None:
        for method in self.methods:
            if any(travels != "analog" for travels in method.transport.values()):
                raise ValueError(
                    f"method {method.label!r} sends packets; emulate takes methods that send token "
                    "symbols alone"
                )
        for air in self.airs:
            if air.digital is not None:
                raise ValueError(
                    f"air {air.label!r} carries packets; emulate takes airs without digital"
                )
        if emulate.faults.need_ray and self.engine == "inline":
            raise ValueError(
                "emulate.faults kills processes or fills Ray's object store, engine inline has "
                "neither; take engine: ray"
            )
        federation = self.federation
        if emulate.trains and federation and {federation.users} != {*emulate.users}:
            raise ValueError(
                f"federation.users {federation.users} and emulate.users "
                f"{', '.join(map(str, emulate.users))} should be the same where the emulated users "
                "train"
            )

    @field_validator("device")
    @classmethod
    def _of_torch(cls, device: str) -> str:
        """Refuses what is no device; the machine that uses it finds out whether it is there."""
        if device != "auto":
            try:
                pick_device(device)
            except ValueError:  # it suggests a GPU by its number, but Ray chooses the number
                raise ValueError(f"no device {device!r}; take auto, cpu or cuda") from None
        return device

    @field_validator("airs")
    @classmethod
    def _with_tables(cls, airs: tuple[AirBase, ...]) -> tuple[AirBase, ...]:
        for air in airs:
            if air.digital is not None:
                check_mcs(air.digital)
        return airs

    def link_at(self, bandwidth_hz: float, tx_power_dbm: float | None = None) -> Link:
        """The link at a bandwidth, which may be too narrow to carry anything.

        Args:
            bandwidth_hz: Bandwidth.
            tx_power_dbm: Transmit power; by default, where any will do, the study's first one.
        """
        powers_dbm = self.link.tx_power_dbm
        return self.link.at(bandwidth_hz, powers_dbm[0] if tx_power_dbm is None else tx_power_dbm)

    @property
    def training_snrs(self) -> tuple[TrainingSnr, ...]:
        """SNRs that networks are trained at, each with those that it is tested at."""
        found: list[TrainingSnr] = []
        for snr_db in self.train_snr_db:
            if isinstance(snr_db, str):
                found += [TrainingSnr(own, (own,), matched=True) for own in self.eval_snr_db]
            else:
                found.append(TrainingSnr(snr_db, self.eval_snr_db))
        return tuple(found)

    @property
    def torch_device(self) -> str:
        """The torch device that computes; ``auto`` is the CPU where nothing reserves a GPU.

        Ray's workers see only the GPUs that they reserve, but the process of the command sees all.
        """
        reserves = any(self.resources.gpus(self.engine).values())
        return "cpu" if self.device == "auto" and not reserves else self.device

    @property
    def checkpoints(self) -> list[NamedCheckpoint]:
        """Every checkpoint that some method loads."""
        systems = [self.system(method) for method in self.methods] or [self.systems.first]
        return list(dict.fromkeys(own for s in systems for own in s.checkpoints(self.task)))

    def system(self, method: Method) -> System:
        """The system of one of the study's methods.

        Raises:
            ValueError: in one line, for settings that it does not take.
        """
        try:
            return system_of(method, self.systems)
        except ValidationError as error:
            found = explain(error, system_class(method))
        except ValueError as error:
            found = str(error)
        raise ValueError(f"methods: {method.label}: {found}")


def _in_keys(value: Any) -> Any:
    """Settings given as objects, as the keys that they set; what has a name stays as it is."""
    if isinstance(value, System):
        return method_keys(value)
    if isinstance(value, BaseModel) and not isinstance(value, Named):
        return value.model_dump(exclude_unset=True)
    return [_in_keys(own) for own in value] if isinstance(value, list | tuple) else value


def _default_tokens(known: dict[str, Any]) -> TokenBudget:
    """Default token lengths of the systems that the methods use."""
    found: TokenBudget = {}
    for method in known.get("methods", ()):
        try:
            system = system_of(method, known["systems"])
            budgets = system.swept_devices(known["task"])
            found.update({d: n for d, n in system.DEFAULT_TOKENS.items() if d in budgets})
        except (KeyError, ValueError):  # refused where methods are checked
            continue
    return found


def _reference_names(task: Task) -> list[str]:
    return [reference.name for reference in task.references(None)]


def _check_labels(key: str, labels: list[str]) -> None:
    """Raises ValueError for labels that a table could not tell apart."""
    if len(set(labels)) < len(labels):
        remedy = "; give one another 'label'" if key == "methods" else ""
        raise ValueError(f"{key}: labels are repeated: {', '.join(labels)}{remedy}")
