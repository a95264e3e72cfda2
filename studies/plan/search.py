"""A search for the settings with which a method learns best under a study's budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, PlainValidator, ValidationError, model_validator

from tokcom_core.config import Config, refuse_truth_for_number
from tokcom_core.systems import Method

from ..errors import explain
from .cells import Plan, joined
from .loading import changed_study
from .overrides import overrides_of, plain
from .specs import FeaturesSpec, ValidationSpec
from .study import Study

_AXES = ("airs", "train_snr_db", "bandwidth_hz", "deadline_ms", "tokens")
"""Keys that describe the one condition in which a search trains."""
_SHARED = ("data", "task", "models", "scale")
"""Keys that decide on the samples, which all trials share."""
_FIXED = ("seeds", "airs", "train_snr_db")
"""Keys that decide how lucky or how hard a trial is, not how good its settings are."""


class Range(Config):
    """Values between two bounds, both included; whole numbers between whole bounds.

    Attributes:
        low, high: The bounds.
        log: Whether the logarithm of a value is drawn uniformly, instead of the value.
    """

    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not (math.isfinite(self.low) and math.isfinite(self.high)):
            raise ValueError(f"a range from {self.low:g} to {self.high:g} has no end to draw from")
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} should be below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} of a logarithmic range should be positive")
        return self

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)


def _space(given: Any) -> Range | tuple[Any, ...]:
    if isinstance(given, Range):
        return given
    value = plain(given)
    if isinstance(value, list):
        if len(value) < 2:
            raise ValueError(f"{value} leaves no choice; take two values or more")
        return tuple(value)
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} should be a list of values or a range {{low: 2, high: 32}}")
    try:
        range_ = Range(**value)
        refuse_truth_for_number(value, range_)
    except ValidationError as error:
        raise ValueError(explain(error, Range)) from None
    return range_


Space = Annotated[Range | tuple[Any, ...], PlainValidator(_space)]
"""Values to choose from."""


class Search(Config):
    """What is searched, and how.

    Attributes:
        method: Label of the method.
        over: Values to choose from, or a range of them, by dotted key of the study.
        trials: Number of settings to try.
        by: ``random``, the same settings for the same seed, or ``optuna``, whose sampler learns
            from trials that have ended.
        stops_early: Whether asynchronous successive halving (ASHA) ends trials whose loss lags
            behind that of others at the same step.
        seed: Seed of the settings.
    """

    method: str
    over: dict[str, Space] = Field(min_length=1)
    trials: int = Field(default=16, ge=1)
    by: Literal["random", "optuna"] = "random"
    stops_early: bool = True
    seed: int = Field(default=0, ge=0)

    def base(self, study: Study) -> Study:
        """The study of the method alone, at its first seed; the trials set its keys.

        Raises:
            ValueError: for an unknown method, a study of several conditions, a deadline that token
                lengths are not fitted to, loggers, several learning rates that are not searched, or
                a searched key that the study does not have or that changes nothing that is trained.
        """
        methods = [method for method in study.methods if method.label == self.method]
        if not methods:
            known = ", ".join(method.label for method in study.methods)
            raise ValueError(f"no method {self.method!r} in the study; there are: {known}")
        counts = {axis: len(getattr(study, axis)) for axis in _AXES}
        counts |= {
            "digital.bits": len(study.digital.bits),
            "link.tx_power_dbm": len(study.link.tx_power_dbm),
        }
        if study.train_snr_db == ("matched",):
            counts |= {"eval_snr_db": len(study.eval_snr_db)}
        if study.emulate is not None and study.emulate.trains:
            counts |= {"emulate.users": len(study.emulate.users)}
        for axis, count in counts.items():
            if count > 1:
                raise ValueError(
                    f"a search trains in one condition, but the study has {count} {axis}; "
                    f"choose one by --set {axis}=[...]"
                )
        if study.deadline_ms[0] is not None and study.deadline_policy != "fit":
            raise ValueError(
                "a search does not see which answers come late; take --set deadline_policy=fit, "
                "under which token lengths meet the deadline"
            )
        if study.loggers:
            raise ValueError(
                f"loggers {', '.join(one.name for one in study.loggers)}: a search has none, its "
                "trials are in its table; take --set loggers=[]"
            )
        base = _alone(study, methods[0])
        varied = [
            study_with(base, {key: _ends(space)[0]}, f"--over {key}")
            for key, space in self.over.items()
        ]
        rates = [variant.system(variant.methods[0]).learning_rates for variant in varied]
        if all(len(choices) > 1 for choices in rates):
            raise _several(self.method, rates[0])
        for key in self.over:
            self._check_key(key, base)
        return base

    def with_absolute_paths(self) -> Search:
        """The search with relative paths among its values resolved from the current folder."""
        over = {
            key: space
            if isinstance(space, Range)
            else tuple(change.plain for value in space for change in overrides_of({key: value}))
            for key, space in self.over.items()
        }
        return self.model_copy(update={"over": over})

    def variants(self, base: Study) -> Iterator[Study]:
        """Studies with each value (of a range: each bound) of a key, the others at their first."""
        first = {name: _ends(space)[0] for name, space in self.over.items()}
        for key, space in self.over.items():
            for value in _values(space):
                yield study_with(base, {**first, key: value})

    def features(self, base: Study) -> list[FeaturesSpec]:
        """Frozen tokens of the study, at all token lengths that trials may draw.

        Lengths that the encoders do not take, or that a deadline shortens, are left to the trials,
        as is a range of more whole numbers than there are trials.
        """
        found = Plan(base).features()
        lengths = [
            {key: value, "deadline_ms": None, "deadline_policy": "late"}
            for key, space in self.over.items()
            if _of_tokens(key)
            for value in _whole_numbers(space, self.trials)
        ]
        for encoders, tokens in product(self._without_tokens(), lengths):
            with suppress(ValueError):
                found += Plan(study_with(base, {**encoders, **tokens})).features()
        return joined(found)

    def _without_tokens(self) -> list[dict[str, Any]]:
        """Values of all keys but token lengths: each of one key, the others at their first."""
        spaces = {key: space for key, space in self.over.items() if not _of_tokens(key)}
        first = {key: _ends(space)[0] for key, space in spaces.items()}
        return [
            first,
            *({**first, key: end} for key, space in spaces.items() for end in _values(space)[1:]),
        ]

    def _check_key(self, key: str, base: Study) -> None:
        """Raises ValueError if a key changes samples, method, seed or air, or nothing trained."""
        place = key.split(".")[0]
        if place in _SHARED:
            raise ValueError(f"all trials of a search share their samples; take --set {key}=...")
        designed = key.split(".")[:2] == ["airs", "digital"]  # may be searched
        matched = place == "eval_snr_db" and "matched" in base.train_snr_db
        if matched or (place in _FIXED and not designed):
            raise ValueError(
                f"all trials of a search share their {place}, or the best would be the luckiest or "
                f"have the easiest air; take --set {key}=..."
            )
        if key == "methods":
            raise ValueError(
                "all trials of a search have its --method; search over keys of it, such as "
                "methods.transport.DEVICE"
            )
        for end in (0, 1):
            rest = {name: _ends(space)[end] for name, space in self.over.items()}
            outcomes = {_outcome(base, {**rest, key: value}) for value in _values(self.over[key])}
            if len(outcomes) > 1:
                return
        raise ValueError(
            f"{key} changes nothing that a search trains or validates; take --set {key}=... and "
            "search over other keys"
        )


def _alone(study: Study, method: Method) -> Study:
    """The study of a method alone at its first seed, which trains it in one process."""
    budgets = study.system(method).swept_devices(study.task)
    tokens = tuple({name: own[name] for name in own if name in budgets} for own in study.tokens)
    emulate = study.emulate
    if emulate is not None:
        emulate = emulate.model_copy(update={"faults": emulate.faults.of_devices()})
    alone = {"methods": (method,), "tokens": tokens, "seeds": study.seeds[:1], "claims": ()}
    return study.model_copy(update={**alone, "emulate": emulate, "engine": "inline"})


def _values(space: Range | tuple[Any, ...]) -> tuple[Any, ...]:
    """The values of a list, or the bounds of a range."""
    return (space.low, space.high) if isinstance(space, Range) else space


def _of_tokens(key: str) -> bool:
    """Whether a key sets token lengths."""
    return key.split(".")[0] == "tokens"


def _whole_numbers(space: Range | tuple[Any, ...], max_count: int) -> Sequence[Any]:
    """The values of a list, or of a range of at most so many whole numbers; else none."""
    if not isinstance(space, Range):
        return space
    if space.whole and space.high - space.low < max_count:
        return range(int(space.low), int(space.high) + 1)
    return ()


def _ends(space: Range | tuple[Any, ...]) -> tuple[Any, Any]:
    """The first and the last value of a space."""
    values = _values(space)
    return values[0], values[-1]


def _outcome(base: Study, values: Mapping[str, Any]) -> str:
    """Name of what a trial trains and validates, or why it fails."""
    try:
        return variant_of(base, values).validation.key
    except ValueError as error:
        return str(error)


def _several(method: str, rates: Sequence[float]) -> ValueError:
    """The error of a method with several learning rates, of which a trial takes one."""
    return ValueError(
        f"method {method!r} has {len(rates)} learning rates; choose one, or search over them"
    )


def search_of(**keys: Any) -> Search:
    """A search with these keys.

    Raises:
        ValueError: in one line, for bad values.
    """
    try:
        return Search(**keys)
    except ValidationError as error:
        raise ValueError(explain(error, Search)) from None


class Variant(NamedTuple):
    """One setting of a search.

    Attributes:
        study: The study with this setting.
        validation: Validation of the trained method.
        features: Frozen tokens that it needs.
    """

    study: Study
    validation: ValidationSpec
    features: list[FeaturesSpec]

    def features_from(self, shared: Sequence[FeaturesSpec]) -> list[FeaturesSpec]:
        """Its frozen tokens; those of ``shared`` that hold them, where there are some."""
        return [
            next((held for held in shared if held.features.covers(needed.features)), needed)
            for needed in self.features
        ]

    @property
    def tokens(self) -> dict[str, int]:
        """Token lengths that are sent, by device."""
        return self.validation.trained.tokens


def study_with(base: Study, values: Mapping[str, Any], said: str = "") -> Study:
    """A study with some keys set.

    Args:
        base: The study.
        values: Values by dotted key.
        said: How messages call them; by default ``key=value``.

    Raises:
        ValueError: in one line, for keys or values that it does not take.
    """
    changes = [
        replace(change, said=said or f"{change.key}={change.value}")
        for change in overrides_of(values)
    ]
    return changed_study(base.model_dump(mode="json"), changes, "")


def variant_of(base: Study, values: Mapping[str, Any]) -> Variant:
    """The variant of a search's base study with some keys set.

    Raises:
        ValueError: in one line, for values that the study does not take, a link that cannot carry
            its token lengths, or a method with several learning rates.
    """
    study = study_with(base, values)
    plan = Plan(study)
    (contender,) = (own for own in plan.contenders if own.reference is None)
    rates = contender.system.learning_rates
    if len(rates) > 1:
        raise _several(contender.label, rates)
    rate = rates[0] if rates else None
    return Variant(study, plan.validation(contender, rate, study.seeds[0]), plan.features())
