"""What the time and disk of a spec depend on, and what finished ones took."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from pydantic import Field

from tokcom_core.config import Config
from tokcom_core.systems import flattened

from .artifact_spec import Spec
from .specs import Cell, FeaturesSpec, PhaseSpec, ValidationSpec
from .study import Study

DATA = "data"
"""Kind of the work of making a study's own data."""


class Workload(Config):
    """The work of one spec.

    Attributes:
        kind: Kind of the spec.
        nature: What comparable work has in common: system, batch size, whether it has a GPU, and
            settings that are text, such as the names of checkpoints.
        details: What comparable work may differ in: token lengths, air, all other settings.
        units: Number of parts that take equal time: steps of a training, answers of an evaluation,
            items of the data.
        stored: Number of parts that take equal room on the disk; a training is one part.
    """

    kind: str
    nature: dict[str, Any]
    details: dict[str, Any] = Field(default={})
    units: int = Field(ge=1)
    stored: int = Field(default=1, ge=1)


class Usage(Config):
    """What a finished piece of work took.

    Attributes:
        work: The work.
        seconds: Wall-clock time.
        bytes: Size of its files.
    """

    work: Workload
    seconds: float = Field(ge=0)
    bytes: int = Field(ge=0)


def data_workload(study: Study) -> Workload | None:
    """The work of making a study's own data; None for data in a folder of the user."""
    made = study.data.made
    if made is None:
        return None
    items = next(iter(made.parts.values()))
    return Workload(kind=DATA, nature={DATA: type(made).__name__}, units=items, stored=items)


def workload_of(spec: Spec, study: Study) -> Workload:
    """The work of a spec of a study."""
    gpu = {"gpu": study.resources.gpu > 0}
    if isinstance(spec, FeaturesSpec):
        data = data_workload(study)
        names, others = _split(spec.features.model_dump(mode="json"))
        items = 1 if data is None else data.units
        own = {DATA: spec.data} if data is None else data.nature
        return Workload(
            kind=spec.kind, nature=gpu | own | names, details=others, units=items, stored=items
        )
    assert isinstance(spec, PhaseSpec | ValidationSpec | Cell)
    trained = spec if isinstance(spec, PhaseSpec) else spec.trained
    names, others = _split(trained.system.model_dump(mode="json", exclude_defaults=True))
    nature = gpu | {"system": trained.system.name} | names
    details = {
        "engine": study.engine,
        "cpu": study.resources.cpu,
        "air": None if spec.crossing is None else spec.crossing.air.label,
        **{f"tokens_{device}": count for device, count in _token_lengths(spec).items()},
        **others,
    }
    if isinstance(spec, PhaseSpec):
        phase = spec.definition
        nature["batch_size"] = phase.batch_size
        return Workload(kind=spec.kind, nature=nature, details=details, units=phase.training.steps)
    if isinstance(spec, ValidationSpec):
        nature[DATA] = trained.data
        return Workload(kind=spec.kind, nature=nature, details=details, units=1)
    return _evaluation(spec, nature, details)


def _token_lengths(spec: PhaseSpec | ValidationSpec | Cell) -> dict[str, float]:
    """Token lengths by device; for a training the mean over its steps."""
    if isinstance(spec, PhaseSpec):
        return {d: fmean(tokens[d] for tokens in spec.step_tokens) for d in spec.tokens}
    return dict(spec.tested.tokens if isinstance(spec, Cell) else spec.trained.tokens)


def _evaluation(cell: Cell, nature: dict[str, Any], details: dict[str, Any]) -> Workload:
    nature |= {"batch_size": cell.batch_size}
    if cell.emulate is not None:
        nature["emulate"] = cell.emulate.model_dump(mode="json")
    elif cell.questions is None:
        nature[DATA] = cell.trained.data
    details["method"] = cell.method
    answers = len(cell.eval_snr_db) * (cell.questions or 1)
    return Workload(kind=cell.kind, nature=nature, details=details, units=answers, stored=answers)


def _split(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings that are text, and others."""
    flat = flattened(settings)
    names = {name: value for name, value in flat.items() if isinstance(value, str)}
    return names, {name: value for name, value in flat.items() if name not in names}
