"""The study, as one validated, frozen config."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

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

from actors import EngineName, Federation
from channel_models import AirBase, Link, NamedAir
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
from .evaluation import EvaluationConfig
from .lists import GRID, SEVERAL
from .loggers import NamedLogger, one_of_each
from .models import ModelsName, with_models
from .paths import resolve_checkpoints
from .recipes import RecipeName, with_recipe
from .resources import Resources
from .smoke import Scale, smoked
from .snrs import Matched, Snr, Snrs, TrainingSnr
from .swept import AnyDigital, AnyEmulation, SweptDigital, SweptEmulation, SweptLink, check_mcs
from .token_lengths import TokenLengths

_SEEDS = 2**63
"""Number of seeds that the tables can hold."""


Deadline = Annotated[float, Field(gt=0)] | None
"""Deadline of a question in ms; None if there is none."""

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
    tokens: Annotated[tuple[TokenLengths, ...], *GRID] = Field(
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
    def _with_presets(cls, raw: Any) -> Any:
        """Applies recipe, models and scale."""
        if not isinstance(raw, dict):
            return raw
        _refuse_misplaced(raw, cls.model_fields.keys())
        if raw.keys() & {"recipe", "models", "scale"}:
            raw = {key: _in_keys(value) for key, value in raw.items()}
        applied = with_models(with_recipe(raw))
        return smoked(applied) if applied.get("scale") == "smoke" else applied

    @field_validator("methods", mode="before")
    @classmethod
    def _without_references(cls, methods: Any, info: ValidationInfo) -> Any:
        """Drops references, which every study has anyway, and replaces a system by its keys."""
        task: Task | None = info.data.get("task")
        names = _reference_names(task) if task else ()
        given = [method_keys(m) if isinstance(m, System) else m for m in listed(methods)]
        kept = [m for m in given if not (isinstance(m, str) and m in names)]
        if given and not kept:
            raise ValueError(
                f"{', '.join(map(str, given))}: references, which every study has anyway; take a "
                f"method beside them, such as {DEFAULT_METHODS[0]}"
            )
        return kept

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
                devices = system.swept_devices(self.task)
            budgets += [name for name in devices if name not in budgets]
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
        pairs: list[TrainingSnr] = []
        for snr_db in self.train_snr_db:
            if isinstance(snr_db, str):
                pairs += [TrainingSnr(db, (db,), matched=True) for db in self.eval_snr_db]
            else:
                pairs.append(TrainingSnr(snr_db, self.eval_snr_db))
        return tuple(pairs)

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
        return list(dict.fromkeys(c for s in systems for c in s.checkpoints(self.task)))

    def system(self, method: Method) -> System:
        """The system of one of the study's methods.

        Raises:
            ValueError: in one line, for settings that it does not take.
        """
        try:
            return system_of(method, self.systems)
        except ValidationError as error:
            reason = explain(error, system_class(method))
        except ValueError as error:
            reason = str(error)
        raise ValueError(f"methods: {method.label}: {reason}")


def _refuse_misplaced(raw: dict[str, Any], known: Collection[str]) -> None:
    """Raises ValueError for keys that a study has no more, or that belong elsewhere in it."""
    misplaced = raw.keys() - known
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


def _in_keys(value: Any) -> Any:
    """Settings given as objects, as the keys that they set; what has a name stays as it is."""
    if isinstance(value, System):
        return method_keys(value)
    if isinstance(value, BaseModel) and not isinstance(value, Named):
        return value.model_dump(exclude_unset=True)
    return [_in_keys(entry) for entry in value] if isinstance(value, list | tuple) else value


def _default_tokens(known: dict[str, Any]) -> TokenLengths:
    """Default token lengths of the systems that the methods use."""
    tokens: TokenLengths = {}
    for method in known.get("methods", ()):
        try:
            system = system_of(method, known["systems"])
            budgets = system.swept_devices(known["task"])
            tokens.update({d: n for d, n in system.DEFAULT_TOKENS.items() if d in budgets})
        except (KeyError, ValueError):  # refused where methods are checked
            continue
    return tokens


def _reference_names(task: Task) -> list[str]:
    return [reference.name for reference in task.references(None)]


def _check_labels(key: str, labels: list[str]) -> None:
    """Raises ValueError for labels that a table could not tell apart."""
    if len(set(labels)) < len(labels):
        remedy = "; give one another 'label'" if key == "methods" else ""
        raise ValueError(f"{key}: labels are repeated: {', '.join(labels)}{remedy}")
