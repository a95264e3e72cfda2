"""From a study to its cells and the artifacts that they share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from actors import share_of
from channel_models import AirBase, Link, SnrRange, named_air
from tokcom_core.datasets.data import Data
from tokcom_core.features import AnyFeatures
from tokcom_core.systems import STREAM_KINDS, Phase, System, Transport, devices_of, transport_of
from tokcom_core.tasks import Task

from .budgets import fit, loss_at_bandwidth_db, served_streams
from .contenders import Contender, contenders_of
from .specs import Cell, Crossing, FeaturesSpec, PhaseSpec, ValidationSpec
from .study import Study, TokenBudget

NOISELESS = named_air("awgn")
"""The references' air, at an infinite SNR."""


@dataclass(frozen=True)
class Point:
    """A point of the grid, without method and learning rate.

    Attributes:
        air: Air in the study.
        snr_db: Nominal training SNR, or a range of them.
        bandwidth_hz: Bandwidth of the link.
        tokens: Token lengths in the study.
        seed: Seed of the cell.
    """

    air: AirBase
    snr_db: float | SnrRange
    bandwidth_hz: float
    tokens: TokenBudget
    seed: int


def data_id(data: Data, task: Task) -> str:
    """Name of the data by their content: how they are generated, or the task's identity of them.

    Raises:
        ValueError: if the folder or something in it is missing.
    """
    if data.made is not None:
        return data.made.identity
    assert data.folder is not None
    return task.identity(data.folder)


class Plan:
    """The cells of a study, and the specs that they are made from.

    Raises:
        ValueError: for budgets that the encoders or the link cannot meet.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._data = data_id(study.data, study.task)
        self.contenders = contenders_of(study)
        methods = [contender for contender in self.contenders if contender.reference is None]
        for contender, bandwidth_hz in product(methods, study.bandwidth_hz):
            self._check(contender, study.link_at(bandwidth_hz))

    def _check(self, contender: Contender, link: Link) -> None:
        study, task = self.study, self.study.task
        for tokens in study.tokens:
            contender.system.check(task, tokens)
            streams = contender.system.streams(task, tokens)
            known = {*STREAM_KINDS, *(stream.name for stream in streams)}
            unknown = contender.transport.keys() - known
            if unknown:
                raise ValueError(
                    f"method {contender.label!r}: transport has no stream {min(unknown)!r}; take "
                    f"some of {', '.join(stream.name for stream in streams)}, or "
                    f"{' and '.join(STREAM_KINDS)}, which stand for several"
                )
            served = served_streams(contender.system, task, tokens)
            link.blocks_per_device(len(devices_of(served)))
            if study.emulate is not None:
                if contender.system.in_rounds:
                    raise ValueError(
                        f"method {contender.label!r} answers in rounds of feedback, which the "
                        "many users of 'emulate' do not take; take a method that answers at once"
                    )
                share_of(link, study.emulate.users_at_once, len(devices_of(served)))
            self.budget(contender, tokens, link)
        crossing = _crossing_streams(contender.system, task)
        for air in study.airs:
            kinds = {t for s, t in self._transport(contender, air).items() if s in crossing}
            if contender.system.in_rounds and "file" in kinds:
                raise ValueError(
                    f"method {contender.label!r} answers in rounds of feedback, which transport "
                    "'file' has no device for; take analog or digital"
                )
            self._air(contender, air).check(link)
            if link.access == "sdma" and "analog" in kinds and len(kinds) > 1:
                raise ValueError(
                    f"method {contender.label!r}: under access sdma all streams travel as token "
                    "symbols, or all as packets; take access ofdma or tdma"
                )

    def features(self) -> list[FeaturesSpec]:
        """Frozen tokens of every device, at the token lengths of all cells."""
        found: list[AnyFeatures] = []
        for contender, own, bandwidth_hz in product(
            self.contenders, self.study.tokens, self.study.bandwidth_hz
        ):
            tokens = self.budget(contender, own, self.study.link_at(bandwidth_hz))
            for wanted in features_of(contender.system, self.study.task, tokens).values():
                for one in wanted:
                    _add(found, one)
        return [FeaturesSpec(data=self._data, task=self.study.task, features=f) for f in found]

    def candidates(self) -> dict[str, list[ValidationSpec]]:
        """Validations of each method's learning rates; none if there is no choice.

        They run on the study's first air and SNR, with the last token budget, for every seed.
        """
        study = self.study
        return {
            contender.label: [
                self._validation(contender, rate, seed)
                for rate in contender.system.learning_rates
                for seed in study.seeds
            ]
            for contender in self.contenders
            if len(contender.system.learning_rates) > 1
        }

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
        """The cells of one method at its learning rate.

        Points that differ only in budgets that the method does not have, or cannot meet by the
        deadline, are one cell.
        """
        study = self.study
        if contender.reference is not None:
            first = study.bandwidth_hz[0], study.tokens[0]
            points = [Point(NOISELESS, math.inf, *first, seed) for seed in study.seeds]
        else:
            points = [
                Point(air, snr_db, bandwidth_hz, tokens, seed)
                for air in study.airs
                for snr_db in (study.train_snr_db if air.sets_snr else (math.nan,))
                for bandwidth_hz in study.bandwidth_hz
                for tokens in study.tokens
                for seed in study.seeds
            ]
        cells = [self._cell(contender, point, learning_rate) for point in points]
        return list({cell.key: cell for cell in cells}.values())

    def budget(self, contender: Contender, tokens: TokenBudget, link: Link) -> TokenBudget:
        """Token lengths of a method: those of the study, or the longest within the deadline."""
        own = set(contender.system.budgets(self.study.task))
        asked = {name: count for name, count in tokens.items() if name in own}
        if not own or self.study.deadline_ms is None or self.study.deadline_policy == "late":
            return asked
        return fit(self.study, contender.system, asked, link)

    def _validation(self, contender: Contender, rate: float, seed: int) -> ValidationSpec:
        study = self.study
        point = Point(
            study.airs[0], study.train_snr_db[0], study.bandwidth_hz[0], study.tokens[-1], seed
        )
        trained = self._trained(contender, point, rate)
        return ValidationSpec(trained=trained, crossing=self._crossing(contender, point))

    def _cell(self, contender: Contender, point: Point, learning_rate: float | None) -> Cell:
        study, reference = self.study, contender.reference
        eval_snr_db = study.eval_snr_db if point.air.sets_snr else (math.nan,)
        if reference is not None:
            eval_snr_db = (math.inf,)
        crossing = self._crossing(contender, point)
        loss_db = loss_at_bandwidth_db(study, point.bandwidth_hz)
        return Cell(
            study=study.name,
            method=contender.label,
            reference=None if reference is None else reference.name,
            trained=self._trained(contender, point, learning_rate),
            crossing=crossing.model_copy(update={"link": self._link(contender, point)}),
            nominal_snr_db=point.snr_db,
            eval_snr_db=eval_snr_db,
            eval_air_snr_db=tuple(snr_db - loss_db for snr_db in eval_snr_db),
            bandwidth_hz=point.bandwidth_hz,
            air_label=point.air.label,
            deadline_ms=None if reference is not None else study.deadline_ms,
            questions=study.evaluation.questions,
            batch_size=study.evaluation.batch_size,
            max_answer_tokens=study.evaluation.max_answer_tokens,
            metric=study.evaluation.metric,
            emulate=None if reference is not None else study.emulate,
        )

    def _trained(
        self, contender: Contender, point: Point, learning_rate: float | None
    ) -> PhaseSpec:
        """The last phase of a method, with its parents."""
        task = self.study.task
        system = contender.at(learning_rate)
        tokens = self.budget(contender, point.tokens, self.study.link_at(point.bandwidth_hz))
        spec: PhaseSpec | None = None
        for phase in system.phases(task):
            spec = PhaseSpec(
                data=self._data,
                task=task,
                system=system.for_phase(phase.name),
                phase=phase.name,
                parent=spec,
                tokens=system.tokens_for(task, phase, tokens),
                seed=point.seed,
                federation=None if contender.reference is not None else self.study.federation,
                crossing=self._crossing(contender, point, phase) if phase.over_air else None,
            )
        assert spec is not None, "a system has a phase"
        return spec

    def _crossing(self, contender: Contender, point: Point, phase: Phase | None = None) -> Crossing:
        """The crossing of the streams of a phase, or of the test."""
        study = self.study
        if contender.reference is not None:
            link = NOISELESS.matters(self._link(contender, point))
            return Crossing(air=NOISELESS, link=link, snr_db=math.inf, transport={})
        air = self._air(contender, point.air)
        nominal_db = point.snr_db if phase is None or phase.snr_db is None else phase.snr_db
        names = contender.system.served(study.task)
        if phase is not None:
            names = phase.crossing
        loss_db = loss_at_bandwidth_db(study, point.bandwidth_hz)
        if isinstance(nominal_db, SnrRange):
            snr_db: float | SnrRange = nominal_db.shifted(-loss_db)
        else:
            snr_db = nominal_db - loss_db
        population = None if study.emulate is None else study.emulate.training_population
        link = study.link_at(point.bandwidth_hz)
        travel = self._transport(contender, point.air)
        return Crossing(
            air=air,
            link=air.matters(link) if population is None else link,
            snr_db=snr_db if air.sets_snr else math.nan,
            transport={name: travel[name] for name in names if travel[name] != "analog"},
            population=population,
        )

    def _transport(self, contender: Contender, air: AirBase) -> dict[str, Transport]:
        """Transport of every stream of a method; packets on an air with a digital link."""
        usual: Transport = "analog" if air.digital is None else "digital"
        tokens = self.study.tokens[0]
        streams = contender.system.streams(self.study.task, tokens)
        return {s.name: transport_of(s, contender.transport) or usual for s in streams}

    def _air(self, contender: Contender, air: AirBase) -> AirBase:
        """The air of a method: with the study's digital link, if it sends packets."""
        packets = any(travels != "analog" for travels in contender.transport.values())
        if not packets or air.digital is not None:
            return air
        return air.model_copy(update={"digital": self.study.digital})

    def _link(self, contender: Contender, point: Point) -> Link:
        """The link of a contender; a reference has the plainest one, for airtime alone."""
        link = self.study.link_at(point.bandwidth_hz)
        if contender.reference is None:
            return link
        return link.model_copy(update={"antennas": 1, "access": "ofdma"})


def features_of(
    system: System, task: Task, tokens: TokenBudget
) -> dict[tuple[str, str], tuple[AnyFeatures, ...]]:
    """Frozen tokens of all devices of a system, by device and name."""
    devices = devices_of(system.streams(task, tokens))
    return {
        (device, name): own
        for device in devices
        for name, own in system.features(task, device, tokens).items()
    }


def _crossing_streams(system: System, task: Task) -> set[str]:
    """Names of the streams that cross the air, in some phase or in the test."""
    trained = {name for phase in system.phases(task) for name in phase.crossing}
    return trained | set(system.served(task))


def _add(found: list[AnyFeatures], wanted: AnyFeatures) -> None:
    """Joins features with those that they can share, or adds them."""
    for i, one in enumerate(found):
        both = one.joined(wanted)
        if both is not None:
            found[i] = both
            return
    found.append(wanted)
