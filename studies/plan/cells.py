"""From a study to its cells and the artifacts that they share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product

from channel_models import AirBase, Link, SnrRange, named_air
from tokcom_core.datasets.data import Data
from tokcom_core.errors import in_one_line
from tokcom_core.features import AnyFeatures
from tokcom_core.systems import Phase, System, devices_of
from tokcom_core.tasks import Task

from .budgets import Budget, budget_of, loss_at_bandwidth_db
from .checks import check_data, check_emulation, check_method
from .contenders import Contender, air_of, contenders_of, digital_links, transports_of
from .snrs import TrainingSnr
from .specs import Cell, Crossing, FeaturesSpec, PhaseSpec, ValidationSpec
from .study import Study
from .token_lengths import TokenLengths

NOISELESS = named_air("awgn")
"""The references' air, at an infinite SNR."""


@dataclass(frozen=True)
class Point:
    """A point of the grid, without method and learning rate.

    Attributes:
        air: Air of the study.
        training: Nominal training SNR, and the SNRs that are evaluated.
        budget: Link, deadline, users and token lengths.
        seed: Seed of the cell.
    """

    air: AirBase
    training: TrainingSnr
    budget: Budget
    seed: int


@dataclass(frozen=True)
class Infeasible:
    """A cell whose budget the link cannot carry, so that it never runs, and the reason."""

    cell: Cell
    reason: str


def data_id(data: Data, task: Task) -> str:
    """Name of the data by their content: how they are generated, or the task's own identity.

    Raises:
        ValueError: if the folder or something in it is missing.
    """
    if data.made is not None:
        return data.made.identity
    assert data.folder is not None
    with in_one_line(type(task), "identity()"):
        return task.identity(data.folder)


class Plan:
    """The cells of a study, and the specs that they are made from.

    Args:
        study: Study.
        has_run: Whether it has run, so that its methods need not be checked again: that reads the
            configurations of their checkpoints, which takes seconds.

    Attributes:
        study: Study.
        contenders: Its references and methods.
        bandwidths_hz: Bandwidths at which the link can carry some method.

    Raises:
        ValueError: if the encoders or the airs do not take a method, if the data are not those of
            the task, or if the link can carry none of the budgets.
    """

    def __init__(self, study: Study, has_run: bool = False) -> None:
        check_data(study)
        self.study = study
        self._data = data_id(study.data, study.task)
        self.contenders = contenders_of(study)
        self._methods = [c for c in self.contenders if c.reference is None]
        if not has_run:
            for method in self._methods:
                check_method(study, method)
            check_emulation(study, self._methods)
        users = (None,) if study.emulate is None else study.emulate.each
        self._grid = {
            method.label: [
                budget_of(study, method, Budget(*asked))
                for asked in product(
                    study.bandwidth_hz,
                    study.link.tx_power_dbm,
                    study.deadline_ms,
                    users,
                    digital_links(study, method),
                    study.tokens,
                )
            ]
            for method in self._methods
        }
        every = [budget for budgets in self._grid.values() for budget in budgets]
        feasible_hz = {budget.bandwidth_hz for budget in every if budget.infeasible is None}
        if not feasible_hz:
            raise ValueError(every[0].infeasible)
        self.bandwidths_hz = [hz for hz in study.bandwidth_hz if hz in feasible_hz]

    def features(self) -> list[FeaturesSpec]:
        """Frozen tokens of every device, at the token lengths of all cells."""
        every = chain.from_iterable(map(self._features_of, self.contenders))
        return joined(
            FeaturesSpec(data=self._data, task=self.study.task, features=own) for own in every
        )

    def reads(self, contender: Contender, spec: FeaturesSpec) -> bool:
        """Whether a method reads some of these frozen tokens."""
        return any(spec.features.covers(own) for own in self._features_of(contender))

    def _features_of(self, contender: Contender) -> Iterator[AnyFeatures]:
        for budget in self.budgets(contender):
            every = features_of(contender.system, self.study.task, budget.tokens)
            for wanted in every.values():
                yield from wanted

    def candidates(self) -> dict[str, list[ValidationSpec]]:
        """Validations of each method's learning rates; none if there is no choice.

        They run for every seed, on the study's first air and training SNR. Their budget has the
        method's first bandwidth, transmit power, number of users and bits of a value, and of those
        the last deadline and token lengths. A network of all token lengths is validated at the
        longest.
        """
        study = self.study
        return {
            contender.label: [
                self.validation(contender, rate, seed)
                for rate in contender.system.learning_rates
                for seed in study.seeds
            ]
            for contender in self.contenders
            if len(contender.system.learning_rates) > 1 and self.budgets(contender)
        }

    def validation(self, contender: Contender, rate: float | None, seed: int) -> ValidationSpec:
        """The validation of a method at a learning rate, see :meth:`candidates`.

        Args:
            contender: Method.
            rate: Its learning rate; None where there is none to choose.
            seed: Seed.
        """
        budgets = self.budgets(contender)
        first = budgets[0]
        at_first = [b for b in budgets if b.same_link(first) and b.emulate == first.emulate]
        point = Point(self.study.airs[0], self.study.training_snrs[0], at_first[-1], seed)
        trained = self._trained(contender, point, rate)
        return ValidationSpec(trained=trained, crossing=self._crossing(contender, point))

    def known_cells(self, learning_rates: Mapping[str, float]) -> list[Cell]:
        """The cells of methods whose learning rate is known, the references first.

        Args:
            learning_rates: Chosen rate of each method that has a choice.
        """
        return [
            cell
            for contender in self.contenders
            if contender.label in learning_rates or len(contender.system.learning_rates) <= 1
            for cell in self.cells_of(contender, learning_rates.get(contender.label))
        ]

    def cells_of(self, contender: Contender, learning_rate: float | None) -> list[Cell]:
        """The cells of one method at its learning rate, at all budgets that the link can carry."""
        return self._cells(contender, self.budgets(contender), learning_rate)

    def infeasible(self) -> list[Infeasible]:
        """The cells whose budgets the link cannot carry, with the token lengths asked for."""
        found = {
            cell.key: Infeasible(cell, budget.infeasible)
            for method in self._methods
            for budget in self._grid[method.label]
            if budget.infeasible is not None
            for cell in self._cells(method, [budget], None)
        }
        return list(found.values())

    def budgets(self, contender: Contender) -> list[Budget]:
        """The budgets of a method that the link can carry; for a reference only the first one."""
        if contender.reference is None:
            return [b for b in self._grid[contender.label] if b.infeasible is None]
        study = self.study
        link = self.bandwidths_hz[0], study.link.tx_power_dbm[0]
        asked = Budget(*link, None, None, study.digital.each[0], study.tokens[0])
        return [budget_of(study, contender, asked)]

    def _cells(
        self, contender: Contender, budgets: Iterable[Budget], learning_rate: float | None
    ) -> list[Cell]:
        """The cells of one method at some budgets.

        Points are one cell if they differ only in token lengths of devices that the method does
        not have, or if a deadline shortens their token lengths to the same ones.
        """
        study = self.study
        if contender.reference is not None:
            channels = [(NOISELESS, TrainingSnr(math.inf, (math.inf,)))]
        else:
            unset = (TrainingSnr(math.nan, (math.nan,)),)
            channels = [
                (air, training)
                for air in study.airs
                for training in (study.training_snrs if air.sets_snr else unset)
            ]
        first, *others = study.seeds
        cells = []
        for channel, budget in product(channels, budgets):
            if channel[0].digital is not None and budget.digital != study.digital.each[0]:
                continue  # the air's own link has its own bits
            cell = self._cell(contender, Point(*channel, budget, first), learning_rate)
            cells += [cell, *map(cell.with_seed, others)]
        return list({cell.key: cell for cell in cells}.values())

    def _cell(self, contender: Contender, point: Point, learning_rate: float | None) -> Cell:
        study, reference = self.study, contender.reference
        nominal_db, eval_snr_db, matched = point.training
        crossing = self._crossing(contender, point)
        loss_db = loss_at_bandwidth_db(study, point.budget.bandwidth_hz)
        trained = self._trained(contender, point, learning_rate)
        return Cell(
            study=study.name,
            method=contender.label,
            reference=None if reference is None else reference.name,
            trained=trained,
            crossing=crossing.model_copy(update={"link": self._link(contender, point)}),
            nominal_snr_db="matched" if matched else nominal_db,
            eval_snr_db=eval_snr_db,
            eval_air_snr_db=tuple(snr_db - loss_db for snr_db in eval_snr_db),
            bandwidth_hz=point.budget.bandwidth_hz,
            air_label=point.air.label,
            deadline_ms=point.budget.deadline_ms,
            questions=study.evaluation.questions,
            batch_size=study.evaluation.batch_size,
            max_answer_tokens=study.evaluation.max_answer_tokens,
            metric=study.evaluation.metric,
            emulate=point.budget.emulate,
            tokens=None if trained.any_tokens is None else point.budget.tokens,
            compute=study.compute,
        )

    def _trained(
        self, contender: Contender, point: Point, learning_rate: float | None
    ) -> PhaseSpec:
        """The last phase of a method, with its parents."""
        task = self.study.task
        system = contender.at(learning_rate)
        spec: PhaseSpec | None = None
        for phase in system.phases(task):
            drawn = [
                system.tokens_for(task, phase, tokens)
                for tokens in self._trained_tokens(contender, point.budget)
            ]
            different = [tokens for i, tokens in enumerate(drawn) if tokens not in drawn[:i]]
            spec = PhaseSpec(
                data=self._data,
                task=task,
                system=system.for_phase(phase.name),
                phase=phase.name,
                parent=spec,
                tokens={device: max(own[device] for own in drawn) for device in drawn[0]},
                seed=point.seed,
                federation=None if contender.reference is not None else self.study.federation,
                crossing=self._crossing(contender, point, phase) if phase.over_air else None,
                any_tokens=tuple(different) if len(different) > 1 else None,
            )
        assert spec is not None, "a system has a phase"
        return spec

    def _trained_tokens(self, contender: Contender, budget: Budget) -> list[TokenLengths]:
        """The token lengths that a network for a budget is trained at, sorted.

        A network of all token lengths is trained at all those that its link carries.
        """
        if not contender.any_tokens or budget.infeasible is not None:
            return [budget.tokens]
        carried = [own.tokens for own in self.budgets(contender) if own.same_link(budget)]
        return sorted(carried, key=lambda tokens: sorted(tokens.items()))

    def _crossing(self, contender: Contender, point: Point, phase: Phase | None = None) -> Crossing:
        """The crossing of the streams of a phase, or of the test."""
        study = self.study
        if contender.reference is not None:
            link = NOISELESS.relevant_link(self._link(contender, point))
            return Crossing(air=NOISELESS, link=link, snr_db=math.inf, transport={})
        asked_db = point.training.snr_db
        nominal_db = asked_db if phase is None or phase.snr_db is None else phase.snr_db
        names = contender.system.served(study.task)
        if phase is not None:
            names = phase.crossing
        loss_db = loss_at_bandwidth_db(study, point.budget.bandwidth_hz)
        if isinstance(nominal_db, SnrRange):
            snr_db: float | SnrRange = nominal_db.shifted(-loss_db)
        else:
            snr_db = nominal_db - loss_db
        emulate = point.budget.emulate
        population = None if emulate is None else emulate.training_population
        link = study.link_at(point.budget.bandwidth_hz, point.budget.tx_power_dbm)
        travel = transports_of(study, contender, point.air)
        transport = {name: travel[name] for name in names if travel[name] != "analog"}
        in_packets = "digital" in transport.values()  # others have one link at all bits
        digital = point.budget.digital if in_packets else study.digital.each[0]
        air = air_of(contender, point.air, digital)
        return Crossing(
            air=air,
            link=air.relevant_link(link) if population is None else link,
            snr_db=snr_db if air.sets_snr else math.nan,
            transport=transport,
            population=population,
        )

    def _link(self, contender: Contender, point: Point) -> Link:
        """The link of a contender; a reference has the plainest one, just for its airtime."""
        link = self.study.link_at(point.budget.bandwidth_hz, point.budget.tx_power_dbm)
        if contender.reference is None:
            return link
        return link.model_copy(update={"antennas": 1, "access": "ofdma"})


def features_of(
    system: System, task: Task, tokens: TokenLengths
) -> dict[tuple[str, str], tuple[AnyFeatures, ...]]:
    """Frozen tokens of all devices of a system, by device and name."""
    devices = devices_of(system.streams(task, tokens))
    return {
        (device, name): own
        for device in devices
        for name, own in system.features(task, device, tokens).items()
    }


def joined(specs: Iterable[FeaturesSpec]) -> list[FeaturesSpec]:
    """Frozen tokens of the same data that cover all of these, joined where they can be."""
    found: list[FeaturesSpec] = []
    for spec in specs:
        for i, one in enumerate(found):
            both = one.features.joined(spec.features)
            if both is not None:
                found[i] = one.model_copy(update={"features": both})
                break
        else:
            found.append(spec)
    return found
