"""One evaluated condition of a cell, and its rows in the tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors import Evaluation
from tokcom_core.datasets.samples import Samples

from ..plan.operations import served_streams
from ..plan.specs import Cell
from .columns import LOCATION_COLUMNS, TableLayout
from .costs import NetworkSizes, air_columns, ebn0_db, network_columns, tokens_sent
from .identity import cell_columns, identity, versions
from .lateness import lateness
from .statistics import clip_interval

_ONE_USER = {"answered_fraction": 1.0, "transmissions": 1.0}


@dataclass(frozen=True)
class EmulationScores:
    """Results that only an emulation of many users has.

    Attributes:
        columns: Further columns of its row.
        users: User that asked each question.
        latencies_ms: Latency of each question; None for a question that was never answered.
        device_rows: Rows of all users' devices.
    """

    columns: dict[str, Any]
    users: tuple[int, ...]
    latencies_ms: tuple[float | None, ...]
    device_rows: list[dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """One evaluated condition of a cell.

    Attributes:
        cell: Cell that was evaluated.
        eval_snr_db: Nominal SNR of the condition.
        evaluation: Answers and receptions.
        asked: Sample of each question.
        sizes: Sizes of the network, from which compute and training traffic are counted.
        emulation: Results of an emulation of many users; None for a single user.
    """

    cell: Cell
    eval_snr_db: float
    evaluation: Evaluation
    asked: Samples
    sizes: NetworkSizes
    emulation: EmulationScores | None = None

    @property
    def right(self) -> tuple[float, ...]:
        """Score of each answer by the cell's metric, from 0 to 1; NaN where nothing scores it."""
        if self.cell.metric == "first_token":
            return tuple(map(float, self.evaluation.first_token))
        return self.evaluation.scores

    @property
    def accuracy(self) -> float | None:
        """Mean score of the answers; None where nothing scores them."""
        return _mean(np.asarray(self.right))

    def result_row(self, layout: TableLayout) -> dict[str, Any]:
        """The row of ``results``."""
        streams = self.evaluation.streams
        tokens = dict.fromkeys(layout.devices, 0.0) | tokens_sent(streams.values())
        air = air_columns(list(streams.values()))
        airtime_ms = self.evaluation.airtime_ms
        by_stream = {name: stream.tokens for name, stream in streams.items()}
        network = network_columns(self.cell, self.sizes, by_stream)
        on_air_ms = airtime_ms + self.evaluation.waiting_ms
        latency_ms = network["device_ms"] + on_air_ms + network["station_ms"]
        served = {**_ONE_USER, "latency_ms": latency_ms}
        latencies_ms: Sequence[float | None] = (latency_ms,)
        if self.emulation is not None:
            served, latencies_ms = self.emulation.columns, self.emulation.latencies_ms
        return {
            **identity(self.cell, layout),
            "versions": versions(**self.sizes.hardware),
            "eval_snr_db": self.eval_snr_db,
            **air,
            "ebn0_db": ebn0_db(list(streams.values())),
            "airtime_ms": airtime_ms,
            **{
                f"tokens_{device}": n
                for device, n in tokens.items()
                if device not in layout.swept_devices
            },
            "tokens_total": sum(tokens.values()),
            **served,
            **lateness(self.cell.deadline_ms, latencies_ms),
            **self._score_columns(layout),
            "feedback_bits": self.evaluation.feedback_bits,
            **network,
            "status": "ok",
            "reason": "",
        }

    def _score_columns(self, layout: TableLayout) -> dict[str, Any]:
        scores, groups = np.asarray(self.right), np.asarray(self.asked.group)
        interval = clip_interval(self.asked.media_id, self.right)
        return {
            "accuracy": self.accuracy,
            "accuracy_low": _known(interval.low),
            "accuracy_high": _known(interval.high),
            "first_token_accuracy": float(np.mean(self.evaluation.first_token)),
            "test_questions": int(np.isfinite(scores).sum()),
            **{
                f"accuracy_{kind}": _mean(scores[np.isin(groups, members)])
                for kind, members in layout.kinds.items()
            },
            **{f"score_{name}": value for name, value in self._official_scores().items()},
            **{
                f"{name}_loss": self.evaluation.losses.get(name) for name in ("task", "first_token")
            },
        }

    def _official_scores(self) -> dict[str, float]:
        answered = self.evaluation
        return self.cell.task.measure(answered.predicted, self.asked, answered.scores)

    def _askers(self) -> tuple[Sequence[int], Sequence[float | None]]:
        """The user and the latency of each question; no latencies without an emulation."""
        if self.emulation is None:
            return (0,) * len(self.asked), (None,) * len(self.asked)
        return self.emulation.users, self.emulation.latencies_ms

    def device_rows(self, layout: TableLayout) -> list[dict[str, Any]]:
        """A row of ``devices`` for each device, over all its streams."""
        shared = {**cell_columns(self.cell, layout), "eval_snr_db": self.eval_snr_db}
        if self.emulation is not None:
            rows = self.emulation.device_rows
        else:
            senders = dict.fromkeys(stream.sender for stream in self.evaluation.streams.values())
            rows = [self._device_row(device, layout) for device in senders]
        trained = self.cell.trained
        streams = served_streams(trained.system, self.cell.task, trained.tokens)
        modalities = {stream.device: stream.modality for stream in streams}
        return [{**shared, **row, "modality": modalities.get(row["device"])} for row in rows]

    def _device_row(self, device: str, layout: TableLayout) -> dict[str, Any]:
        streams = [s for s in self.evaluation.streams.values() if s.sender == device]
        air = air_columns(streams)
        return {
            "user": 0,
            "device": device,
            "questions": len(self.asked),
            "accuracy": self.accuracy,
            "transmissions": 1.0,
            "tokens": sum(stream.tokens for stream in streams),
            "outage_fraction": fmean(stream.lost_fraction for stream in streams),
            **{name: air[name] for name in layout.devices_table.names if name in air},
            **{name: streams[0].location.get(name) for name in LOCATION_COLUMNS},
        }

    def answer_rows(self, layout: TableLayout) -> list[dict[str, Any]]:
        """A row of ``answers`` for each question."""
        shared = {**cell_columns(self.cell, layout), "eval_snr_db": self.eval_snr_db}
        users, latencies_ms = self._askers()
        kind = _known if layout.graded else _flag
        columns = {
            "user": users,
            "sample_id": self.asked.sample_id,
            "media_id": self.asked.media_id,
            "group": self.asked.group,
            "right": map(kind, self.right),
            "exact": map(kind, self.evaluation.scores),
            "first_token": self.evaluation.first_token,
            "predicted": self.evaluation.predicted,
            "latency_ms": latencies_ms,
        }
        return [
            {**shared, **dict(zip(columns, values, strict=True))}
            for values in zip(*columns.values(), strict=True)
        ]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _flag(value: float) -> bool | None:
    return None if math.isnan(value) else bool(value)


def _mean(scores: NDArray[np.float64]) -> float | None:
    """Mean of those scores that are known."""
    known = scores[np.isfinite(scores)]
    return float(known.mean()) if len(known) else None
