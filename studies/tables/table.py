"""The rows of the tables, written and read: one atomic parquet file a finished cell."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from actors import MODALITY_OF, Evaluation
from channel_models import mean_db
from tokcom_core.datasets.samples import (
    QUESTION_TYPE_NAMES,
    Samples,
    majority_accuracy,
    read_samples,
)

from ..plan.cells import ModelSizes
from ..plan.methods import FLOORS, METHODS
from ..plan.specs import Cell
from ..storage.folder import StudyFolder
from .columns import (
    ANSWERS,
    CELL_COLUMNS,
    CURVES,
    DEVICES,
    RESULTS,
    SITE,
    SORT_BY,
    STAGE_CURVES,
)
from .rows import write_rows
from .statistics import clip_interval

_GRADIENT_BITS = 32


@dataclass(frozen=True)
class CrowdScores:
    """What only an emulation of many users knows: columns of its row, and rows of their devices.

    ``users`` holds who asked each question.
    """

    columns: dict[str, Any]
    users: tuple[int, ...]
    device_rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """One evaluated condition of a cell, and what its row is computed from.

    ``asked`` holds the sample of each question.
    """

    cell: Cell
    eval_snr_db: float
    scores: Evaluation
    asked: Samples
    shapes: ModelSizes
    weights: dict[str, int]
    crowd: CrowdScores | None = None

    @property
    def right(self) -> tuple[bool, ...]:
        """What accuracy counts of each question."""
        found: tuple[bool, ...] = getattr(self.scores, self.cell.metric)
        return found

    def row(self) -> dict[str, Any]:
        hits = np.asarray(self.right)
        interval = clip_interval(self.asked.video_id, self.right)
        types = np.asarray(self.asked.question_type)
        tokens = self._tokens()
        arrivals = self.scores.arrivals.values()
        costs = [arrival.overhead for arrival in arrivals]
        uses = sum(cost.data_channel_uses for cost in costs)
        bits = sum(cost.payload_bits for cost in costs)
        snr_db = mean_db([arrival.realised_snr_db for arrival in arrivals])
        deadline = self.cell.deadline_ms
        return {
            **identity(self.cell),
            "eval_snr_db": self.eval_snr_db,
            "realised_snr_db": snr_db,
            "realised_sinr_db": mean_db([arrival.sinr_db for arrival in arrivals]),
            "ebn0_db": snr_db - 10 * math.log10(bits / uses) if bits else None,
            "erased_fraction": fmean(arrival.erased_fraction for arrival in arrivals),
            "meets_deadline": deadline is None or self.scores.interval_ms <= deadline,
            **{f"tokens_{modality}": count for modality, count in tokens.items()},
            "tokens_total": sum(tokens.values()),
            "accuracy": float(hits.mean()),
            "accuracy_low": _known(interval.low),
            "accuracy_high": _known(interval.high),
            "first_token_accuracy": float(np.mean(self.scores.first_token)),
            "test_questions": len(hits),
            **{f"accuracy_{name}": _mean(hits[types == name]) for name in QUESTION_TYPE_NAMES},
            **(
                {"users": 1, "answered_fraction": 1.0, "transmissions": 1.0}
                if self.crowd is None
                else self.crowd.columns
            ),
            "task_loss": _known(self.scores.loss),
            "first_token_loss": _known(self.scores.first_token_loss),
            "uplink_channel_uses": uses,
            "pilot_channel_uses": sum(cost.pilot_channel_uses for cost in costs),
            "control_bits": sum(cost.control_bits for cost in costs),
            "payload_bits": bits,
            "downlink_bits": self._downlink_bits(tokens),
            "exchanged_bits": self._exchanged_bits(),
            "airtime_ms": self.scores.interval_ms,
            "energy_mj": sum(cost.energy_mj for cost in costs),
            "device_gflop": self._device_gflop(tokens),
            "bs_gflop": self._bs_gflop(tokens),
            "status": "ok",
            "reason": "",
        }

    def device_rows(self) -> list[dict[str, Any]]:
        """A row for each device, its streams taken together."""
        shared = {**cell_columns(self.cell), "eval_snr_db": self.eval_snr_db}
        if self.crowd is not None:
            return [{**shared, **row} for row in self.crowd.device_rows]
        rows = []
        for device in dict.fromkeys(a.sender for a in self.scores.arrivals.values()):
            own = [a for a in self.scores.arrivals.values() if a.sender == device]
            streams = [s for s, a in self.scores.arrivals.items() if a.sender == device]
            rows.append(
                {
                    **shared,
                    "user": 0,
                    "questions": len(self.asked),
                    "accuracy": float(np.mean(self.right)),
                    "transmissions": 1.0,
                    "device": device,
                    "modality": MODALITY_OF[streams[0]],
                    "tokens": sum(a.tokens for a in own),
                    "realised_snr_db": mean_db([a.realised_snr_db for a in own]),
                    "realised_sinr_db": mean_db([a.sinr_db for a in own]),
                    "erased_fraction": fmean(a.erased_fraction for a in own),
                    "outage_fraction": fmean(a.lost_fraction for a in own),
                    "uplink_channel_uses": sum(a.overhead.data_channel_uses for a in own),
                    "payload_bits": sum(a.overhead.payload_bits for a in own),
                    "airtime_ms": sum(a.overhead.airtime_ms for a in own),
                    "energy_mj": sum(a.overhead.energy_mj for a in own),
                    **{name: own[0].site.get(name) for name in SITE},
                }
            )
        return rows

    def answer_rows(self) -> list[dict[str, Any]]:
        """A row for each question."""
        shared = {**cell_columns(self.cell), "eval_snr_db": self.eval_snr_db}
        columns = {
            "user": (0,) * len(self.asked) if self.crowd is None else self.crowd.users,
            "question_id": self.asked.question_id,
            "video_id": self.asked.video_id,
            "group": self.asked.question_type,
            "right": self.right,
            "exact": self.scores.exact,
            "first_token": self.scores.first_token,
        }
        return [
            {**shared, **dict(zip(columns, values, strict=True))}
            for values in zip(*columns.values(), strict=True)
        ]

    def _tokens(self) -> dict[str, float]:
        found = {"text": 0.0, "audio": 0.0, "vision": 0.0}
        for stream, arrival in self.scores.arrivals.items():
            found[MODALITY_OF[stream]] += arrival.tokens
        return found

    def _downlink_bits(self, tokens: dict[str, float]) -> float:
        """Gradients of one training sample: every value of its tokens, and the scales.

        Nothing where nothing is learnt on the devices: the floors, files encoded at the station.
        """
        if self.cell.method.floor or self.cell.method.transport == "file":
            return 0.0
        values = sum(tokens.values()) * self.shapes.token_width
        return _GRADIENT_BITS * (values + len(self.scores.arrivals))

    def _exchanged_bits(self) -> float:
        """Projections that users and base station exchange over the whole training."""
        tuning = self.cell.tuning
        if tuning.federation is None:
            return 0.0
        encoders = self.shapes.encoder.values()
        weights = sum(self.shapes.token_width * (shape.width + 1) for shape in encoders)
        stages = [tuning.steps]
        if tuning.alignment is not None and tuning.alignment.contrastive:
            stages.append(tuning.alignment.alignment.steps)
        return sum(tuning.federation.exchanged_bits(weights, steps) for steps in stages)

    def _device_gflop(self, tokens: dict[str, float]) -> float:
        """Frozen encoders and projections, all devices together; files are encoded elsewhere."""
        if self.cell.method.transport == "file":
            return 0.0
        return self._encoders_gflop(tokens)

    def _encoders_gflop(self, tokens: dict[str, float]) -> float:
        total = 0.0
        for modality, shape in self.shapes.encoder.items():
            if tokens[modality]:
                projection = self.shapes.token_width * shape.width * tokens[modality]
                total += shape.clip_gflop + 2e-9 * projection
        return total

    def _bs_gflop(self, tokens: dict[str, float]) -> float:
        """Receivers and the foundation model's pass over the prompt; two operations a weight."""
        receivers = sum(self.weights.get(m, 0) * count for m, count in tokens.items())
        encoders = self._encoders_gflop(tokens) if self.cell.method.transport == "file" else 0.0
        return encoders + 2e-9 * (receivers + self.weights["foundation"] * sum(tokens.values()))


def identity(cell: Cell) -> dict[str, Any]:
    """The columns that a cell's rows share, known before it has run."""
    tuning = cell.tuning
    alignment_steps = tuning.alignment.alignment.steps if tuning.alignment is not None else 0
    tokens = tuning.tokens
    return {
        "study": cell.study,
        "cell": cell.key,
        "seed": tuning.seed,
        "method": tuning.method,
        "air": cell.air_label,
        "access": cell.link.access,
        "train_snr_db": cell.nominal_snr_db,
        "bandwidth_hz": cell.bandwidth_hz,
        "deadline_ms": cell.deadline_ms,
        "tokens_audio": 0.0 if tokens is None else float(tokens.audio),
        "tokens_vision": 0.0 if tokens is None else float(tokens.vision),
        "devices": len({MODALITY_OF[s] for s in METHODS[tuning.method].streams}),
        "train_steps": alignment_steps + tuning.steps,
        "learning_rate": tuning.learning_rate,
        "config": cell.model_dump_json(),
        "versions": versions(),
    }


def cell_columns(cell: Cell) -> dict[str, Any]:
    """What tells a cell's rows apart in the tables beside ``results``."""
    known = identity(cell)
    return {name: known[name] for name in CELL_COLUMNS}


def write_results(
    folder: StudyFolder, cell: Cell, outcomes: Sequence[Outcome], wall_s: float
) -> None:
    """Writes a finished cell's rows; above the floors, with their accuracies at its seed."""
    train = read_samples(folder.samples("train"))
    shared = {
        **({} if cell.method.floor else _read_floors(folder, cell.tuning.seed)),
        "majority_accuracy": majority_accuracy(train, outcomes[0].asked),
        "wall_s": wall_s,
    }
    _write(folder, cell, [{**outcome.row(), **shared} for outcome in outcomes])


def write_devices(folder: StudyFolder, cell: Cell, outcomes: Sequence[Outcome]) -> None:
    """Writes a row for each device and evaluated condition of a cell."""
    rows = [row for outcome in outcomes for row in outcome.device_rows()]
    with folder.write(folder.devices / f"{cell.key}.parquet") as partial:
        write_rows(partial, rows, DEVICES)


def write_answers(folder: StudyFolder, cell: Cell, outcomes: Sequence[Outcome]) -> None:
    """Writes a row for each question and evaluated condition of a cell."""
    rows = [row for outcome in outcomes for row in outcome.answer_rows()]
    with folder.write(folder.answers / f"{cell.key}.parquet") as partial:
        write_rows(partial, rows, ANSWERS)


def write_failure(folder: StudyFolder, cell: Cell, reason: str) -> None:
    """Writes a failed cell: a row for each evaluation SNR, with the reason."""
    _write(
        folder,
        cell,
        [
            {**identity(cell), "eval_snr_db": snr_db, "status": "failed", "reason": reason}
            for snr_db in cell.eval_snr_db
        ],
    )


def read_results(folder: StudyFolder, cells: Sequence[Cell]) -> pd.DataFrame:
    """The table of the given cells that have finished, in a stable order."""
    done = [cell for cell in cells if folder.has_result(cell.key)]
    files = [folder.store.fetch(folder.result(cell.key)) for cell in done]
    tables = [pq.read_table(file, schema=RESULTS) for file in files]
    if not tables:
        tables = [RESULTS.empty_table()]
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas()
    ordered: pd.DataFrame = frame.sort_values(list(SORT_BY), ignore_index=True)
    return ordered


def write_curves(file: Path, stage: str, losses: Sequence[dict[str, float]]) -> None:
    """Writes one row a training step: ``stage, step`` and the losses."""
    rows = [{"stage": stage, "step": i, **row} for i, row in enumerate(losses)]
    write_rows(file, rows, STAGE_CURVES)


def write_cell_curves(folder: StudyFolder, cell: Cell, stages: Sequence[Path]) -> None:
    """Writes the training steps of a cell's stages, given the files of each."""
    own = cell_columns(cell)
    rows = [{**own, **row} for file in stages for row in pq.read_table(file).to_pylist()]
    with folder.write(folder.curves / f"{cell.key}.parquet") as partial:
        write_rows(partial, rows, CURVES)


def write_floors(folder: StudyFolder, rows: pd.DataFrame) -> None:
    """Keeps the accuracies of the finished floors for the cells above them."""
    done = rows[rows["status"] == "ok"]
    accuracies = {
        m: dict(zip(g["seed"].astype(str), g["accuracy"], strict=True))
        for m, g in done.groupby("method")
    }
    with folder.write(folder.floors) as partial:
        partial.write_text(json.dumps(accuracies))


def _read_floors(folder: StudyFolder, seed: int) -> dict[str, float | None]:
    floors = folder.store.fetch(folder.floors)
    accuracies = json.loads(floors.read_text()) if floors.exists() else {}
    return {
        f"{method.replace('-', '_')}_accuracy": accuracies.get(method, {}).get(str(seed))
        for method in FLOORS
    }


def update_floors(folder: StudyFolder, cells: Sequence[Cell]) -> None:
    """Brings the finished cells above the floors up to date: a floor may have been tried again."""
    for cell in cells:
        if not folder.has_result(cell.key):
            continue
        table = pq.read_table(folder.store.fetch(folder.result(cell.key)), schema=RESULTS)
        rows = table.to_pylist()
        floors = _read_floors(folder, cell.tuning.seed)
        known = {name: rows[0][name] for name in floors}
        if rows[0]["status"] == "ok" and known != floors:
            _write(folder, cell, [{**row, **floors} for row in rows])


@cache
def versions() -> str:
    """Versions of what a result depends on, as JSON."""
    names = ("tokcom", "torch", "transformers", "peft", "sionna", "ray", "av", "numpy")
    return json.dumps({name: version(name) for name in names})


def _write(folder: StudyFolder, cell: Cell, rows: Sequence[dict[str, Any]]) -> None:
    with folder.write(folder.result(cell.key)) as partial:
        write_rows(partial, rows, RESULTS)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    return float(values.mean()) if len(values) else None
