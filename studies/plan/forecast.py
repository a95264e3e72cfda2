"""Expected time and disk of a study, from what comparable work took earlier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from .artifact_spec import Spec
from .cells import Plan
from .specs import Cell, FeaturesSpec
from .workload import Usage, Workload, data_workload, workload_of


@dataclass(frozen=True)
class Estimate:
    """What one piece of work will take.

    Attributes:
        seconds: Wall-clock time.
        bytes: Size of its files.
        based_on: Positions of the earlier works that it follows from.
    """

    seconds: float
    bytes: float
    based_on: frozenset[int]


@dataclass(frozen=True)
class ForecastRow:
    """What the works of one kind will take.

    Attributes:
        kind: Kind of the works.
        runs: Number of works.
        known: What those works will take for which there is comparable earlier work.
    """

    kind: str
    runs: int
    known: tuple[Estimate, ...]

    @property
    def complete(self) -> bool:
        """Whether there is comparable earlier work for all of them."""
        return len(self.known) == self.runs

    @property
    def seconds(self) -> float:
        """Sum of the known times, one after the other."""
        return sum(estimate.seconds for estimate in self.known)

    @property
    def bytes(self) -> float:
        """Sum of the known sizes."""
        return sum(estimate.bytes for estimate in self.known)

    @property
    def earlier(self) -> int:
        """Number of earlier works that the estimates follow from."""
        return len({position for estimate in self.known for position in estimate.based_on})


class Forecast:
    """What a study will take from its data to its tables.

    Args:
        plan: Plan of the study.
        specs: Specs that it has to run: all of :func:`specs_of`, or what is left of them.
        usages: What works of earlier studies took.
        data_there: Whether the study's own data have been made.
    """

    def __init__(
        self,
        plan: Plan,
        specs: Sequence[Spec],
        usages: Sequence[Usage],
        data_there: bool = False,
    ) -> None:
        self._specs = specs
        works = {spec.key: workload_of(spec, plan.study) for spec in specs}
        earlier = _Earlier(usages)
        self._estimates = {key: earlier.estimate(work) for key, work in works.items()}
        data = None if data_there else data_workload(plan.study)
        made = [] if data is None else [ForecastRow(data.kind, 1, _known([earlier.estimate(data)]))]
        kinds = dict.fromkeys(spec.kind for spec in specs)
        self.rows = [*made, *(self._row(kind) for kind in kinds)]
        self._data_s = sum(row.seconds for row in made)

    def elapsed_s(self, at_once: int) -> float:
        """Wall-clock time of what has an estimate, with ``at_once`` trials running at once.

        Frozen tokens wait for the data, and all else waits for the frozen tokens. Emulations come
        last, one after the other.
        """
        features = [spec for spec in self._specs if isinstance(spec, FeaturesSpec)]
        after = [spec for spec in self._specs if not isinstance(spec, FeaturesSpec)]
        trials = [spec for spec in after if not _is_emulated(spec)]
        stages_s = self._stage_s(features, at_once) + self._stage_s(trials, at_once)
        emulated_s = sum(self._seconds(spec) for spec in after if _is_emulated(spec))
        return self._data_s + stages_s + emulated_s

    def _row(self, kind: str) -> ForecastRow:
        estimates = [self._estimates[spec.key] for spec in self._specs if spec.kind == kind]
        return ForecastRow(kind, len(estimates), _known(estimates))

    def _stage_s(self, specs: Sequence[Spec], at_once: int) -> float:
        whole_s = sum(self._seconds(spec) for spec in specs)
        return max([whole_s / at_once, *(self._chain_s(spec) for spec in specs)])

    def _chain_s(self, spec: Spec) -> float:
        """Time of a spec after those of its inputs that have to run, one after the other."""
        return self._seconds(spec) + max((self._chain_s(i) for i in spec.inputs), default=0.0)

    def _seconds(self, spec: Spec) -> float:
        estimate = self._estimates.get(spec.key)
        return 0.0 if estimate is None else estimate.seconds


def specs_of(plan: Plan, cells: Sequence[Cell]) -> list[Spec]:
    """Every spec of a study once: frozen tokens, trainings, validations of learning rates, cells.

    Cells that share their evaluation count once.

    Args:
        plan: Plan of the study.
        cells: Its cells, at any of the learning rates that it chooses from.
    """
    tried = [spec for specs in plan.candidates().values() for spec in specs]
    last = [spec.trained for spec in tried] + [cell.trained for cell in cells]
    trained = [phase for spec in last for phase in spec.lineage]
    every: list[Spec] = [*plan.features(), *trained, *tried, *cells]
    made = {spec.evaluation if isinstance(spec, Cell) else spec.key: spec for spec in every}
    return list(made.values())


_MUCH_LARGER = 10
"""Times that a work may be larger than an earlier one. Beyond that, what each of them takes however
small it is (a start, imports) would be counted once for each of its units: a smoke test of some
seconds would make hours of its study."""


class _Earlier:
    """Earlier works; those that are alike are compared only once.

    Args:
        usages: What the works took.
    """

    def __init__(self, usages: Sequence[Usage]) -> None:
        self._usages = usages
        self._alike: dict[str, dict[str, list[int]]] = {}
        for position, usage in enumerate(usages):
            alike = self._alike.setdefault(_nature(usage.work), {})
            alike.setdefault(_text(usage.work.details), []).append(position)
        self._found: dict[tuple[str, str, int], Estimate | None] = {}

    def estimate(self, work: Workload) -> Estimate | None:
        """Median of the comparable works that differ in the fewest details; None without any."""
        key = _nature(work), _text(work.details), work.units
        if key not in self._found:
            self._found[key] = self._of_one(work)
        unit = self._found[key]
        if unit is None:
            return None
        return replace(unit, seconds=work.units * unit.seconds, bytes=work.stored * unit.bytes)

    def _of_one(self, work: Workload) -> Estimate | None:
        """The estimate of one unit, and of one stored part."""
        alike = [
            large
            for positions in self._alike.get(_nature(work), {}).values()
            if (large := [p for p in positions if self._is_large_enough(p, work)])
        ]
        if not alike:
            return None
        same = [self._agreement(work, positions[0]) for positions in alike]
        max_agreement = max(same)
        closest = [p for own, n in zip(alike, same, strict=True) if n == max_agreement for p in own]
        own = [self._usages[position] for position in closest]
        return Estimate(
            seconds=median(usage.seconds / usage.work.units for usage in own),
            bytes=median(usage.bytes / usage.work.stored for usage in own),
            based_on=frozenset(closest),
        )

    def _is_large_enough(self, position: int, work: Workload) -> bool:
        return _MUCH_LARGER * self._usages[position].work.units >= work.units

    def _agreement(self, work: Workload, position: int) -> int:
        """Number of details that an earlier work has in common with this one."""
        details = self._usages[position].work.details
        return sum(details.get(name) == value for name, value in work.details.items())


def _nature(work: Workload) -> str:
    return _text([work.kind, work.nature])


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _known(estimates: Sequence[Estimate | None]) -> tuple[Estimate, ...]:
    return tuple(estimate for estimate in estimates if estimate is not None)


def _is_emulated(spec: Spec) -> bool:
    return isinstance(spec, Cell) and spec.emulate is not None
