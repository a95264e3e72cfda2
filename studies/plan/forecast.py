"""Expected time and disk of a study, from what comparable work took earlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from .cells import Plan
from .spec import Spec
from .specs import Cell, FeaturesSpec
from .workload import Usage, Workload, data_workload, workload_of


@dataclass(frozen=True)
class Estimate:
    """What one work will take.

    Attributes:
        seconds: Wall-clock time.
        bytes: Size of its files.
        based_on: Positions of the earlier works that say so.
    """

    seconds: float
    bytes: float
    based_on: frozenset[int]


@dataclass(frozen=True)
class Part:
    """What the works of one kind will take.

    Attributes:
        kind: Kind of the works.
        runs: Number of works.
        known: What those will take that there is comparable work of.
    """

    kind: str
    runs: int
    known: tuple[Estimate, ...]

    @property
    def complete(self) -> bool:
        """Whether there is comparable work of all."""
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
        """Number of earlier works that say so."""
        return len({position for estimate in self.known for position in estimate.based_on})


class Forecast:
    """What a study will take from its data to its tables, if nothing of it is there yet.

    Args:
        plan: The study.
        specs: Its specs, see :func:`specs_of`.
        usages: What works of earlier studies took.
    """

    def __init__(self, plan: Plan, specs: Sequence[Spec], usages: Sequence[Usage]) -> None:
        self._specs = specs
        works = {spec.key: workload_of(spec, plan.study) for spec in specs}
        self._estimates = {key: _estimate(work, usages) for key, work in works.items()}
        data = data_workload(plan.study)
        made = [] if data is None else [Part(data.kind, 1, _known([_estimate(data, usages)]))]
        kinds = dict.fromkeys(spec.kind for spec in specs)
        self.parts = [*made, *(self._part(kind) for kind in kinds)]
        self._data_s = sum(part.seconds for part in made)

    def elapsed_s(self, at_once: int) -> float:
        """Wall-clock time of what is known, with so many trials at once.

        Frozen tokens wait for the data, all else for the frozen tokens; emulations come last, one
        after the other.
        """
        features = [spec for spec in self._specs if isinstance(spec, FeaturesSpec)]
        after = [spec for spec in self._specs if not isinstance(spec, FeaturesSpec)]
        trials = [spec for spec in after if not _is_emulated(spec)]
        stages_s = self._stage_s(features, at_once) + self._stage_s(trials, at_once)
        emulated_s = sum(self._seconds(spec) for spec in after if _is_emulated(spec))
        return self._data_s + stages_s + emulated_s

    def _part(self, kind: str) -> Part:
        own = [self._estimates[spec.key] for spec in self._specs if spec.kind == kind]
        return Part(kind, len(own), _known(own))

    def _stage_s(self, specs: Sequence[Spec], at_once: int) -> float:
        whole_s = sum(self._seconds(spec) for spec in specs)
        return max([whole_s / at_once, *(self._chain_s(spec) for spec in specs)])

    def _chain_s(self, spec: Spec) -> float:
        """Time of a spec after its inputs, which run one after the other."""
        return self._seconds(spec) + max((self._chain_s(i) for i in spec.inputs), default=0.0)

    def _seconds(self, spec: Spec) -> float:
        found = self._estimates[spec.key]
        return 0.0 if found is None else found.seconds


def specs_of(plan: Plan, cells: Sequence[Cell]) -> list[Spec]:
    """Every spec of a study once: frozen tokens, trainings, validations of learning rates, cells.

    Cells that share their evaluation count once.

    Args:
        plan: The study.
        cells: Its cells, at any learning rate of those that it chooses from.
    """
    tried = [spec for specs in plan.candidates().values() for spec in specs]
    last = [spec.trained for spec in tried] + [cell.trained for cell in cells]
    trained = [phase for spec in last for phase in spec.lineage]
    every: list[Spec] = [*plan.features(), *trained, *tried, *cells]
    made = {spec.evaluation if isinstance(spec, Cell) else spec.key: spec for spec in every}
    return list(made.values())


def _estimate(work: Workload, usages: Sequence[Usage]) -> Estimate | None:
    """The median of the comparable works that differ in the fewest details; None without any."""
    alike = {
        position: sum(usage.work.details.get(name) == v for name, v in work.details.items())
        for position, usage in enumerate(usages)
        if (usage.work.kind, usage.work.nature) == (work.kind, work.nature)
    }
    closest = [position for position, same in alike.items() if same == max(alike.values())]
    if not closest:
        return None
    own = [usages[position] for position in closest]
    return Estimate(
        seconds=work.units * median(usage.seconds / usage.work.units for usage in own),
        bytes=work.stored * median(usage.bytes / usage.work.stored for usage in own),
        based_on=frozenset(closest),
    )


def _known(estimates: Sequence[Estimate | None]) -> tuple[Estimate, ...]:
    return tuple(estimate for estimate in estimates if estimate is not None)


def _is_emulated(spec: Spec) -> bool:
    return isinstance(spec, Cell) and spec.emulate is not None
