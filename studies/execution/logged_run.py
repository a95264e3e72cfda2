"""Runs as Ray Tune's loggers see them: a name, settings that people can read, a folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokcom_core.systems import flattened

from ..plan.specs import Cell, PhaseSpec, ValidationSpec


@dataclass(frozen=True, eq=False)
class LoggedRun:
    """What a logger sees instead of a trial, with the attributes that Ray's loggers read.

    Attributes:
        trial_id: Name that no other run has.
        name: Name that people see.
        config: Settings of the run.
        folder: Folder of its files.
        experiment_dir_name: Name of the study.
    """

    trial_id: str
    name: str
    config: dict[str, Any]
    folder: Path
    experiment_dir_name: str

    @property
    def evaluated_params(self) -> dict[str, Any]:
        return self.config

    @property
    def local_path(self) -> str:
        """The folder, which is made for loggers that ask for it."""
        self.init_local_path()
        return str(self.folder)

    def init_local_path(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def __str__(self) -> str:
        return self.name


def settings_of(spec: Cell | PhaseSpec | ValidationSpec) -> dict[str, Any]:
    """The settings that tell a run from others, named like the columns of tables.

    Settings of its system are only those that differ from the defaults.
    """
    trained = spec if isinstance(spec, PhaseSpec) else spec.trained
    training = trained.definition.training
    found: dict[str, Any] = {"kind": spec.kind, "system": trained.system.name}
    if isinstance(spec, Cell):
        found |= {"method": spec.method, "bandwidth_hz": spec.bandwidth_hz}
    if spec.crossing is not None:
        snr_db = spec.nominal_snr_db if isinstance(spec, Cell) else spec.crossing.snr_db
        found |= {"air": spec.crossing.air.label, "train_snr_db": snr_db}
        if isinstance(spec, Cell) and isinstance(snr_db, str):  # matched
            found["eval_snr_db"] = spec.eval_snr_db[0]
        if spec.crossing.bits_per_value is not None:
            found["bits_per_value"] = spec.crossing.bits_per_value
    if trained.any_tokens is not None:
        lengths = ("+".join(map(str, tokens.values())) for tokens in trained.any_tokens)
        found["train_tokens"] = ", ".join(lengths)
    tested = spec.tested if isinstance(spec, Cell) else trained
    found |= {
        **{f"tokens_{device}": count for device, count in tested.tokens.items()},
        "seed": trained.seed,
        "learning_rate": training.learning_rate,
        "steps": training.steps,
        "batch_size": trained.definition.batch_size,
        **flattened(trained.system.model_dump(exclude_defaults=True)),
    }
    return {name: _plain(value) for name, value in found.items() if value == value}  # without NaN


def _plain(value: Any) -> str | int | float:
    finite = isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if finite else str(value)
