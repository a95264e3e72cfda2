"""Columns of the tables: stable names and types, units in the names, a schema version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

SCHEMA_VERSION = 13
VERSION_KEY = b"tokcom_schema_version"

WALL_CLOCK_COLUMNS = ("wall_s",)
PERCENTILES = (50, 95, 99)
"""Percentiles of the latency of an emulation's questions."""
LOSS_COLUMNS = ("lost_outage_fraction", "lost_deadline_fraction", "lost_straggler_fraction")
SERVICE_COLUMNS = (
    *("answered_fraction", "transmissions", "latency_ms"),
    *(f"latency_p{percent}_ms" for percent in PERCENTILES),
    *("late_fraction", "answers_per_s", "fairness", *LOSS_COLUMNS),
)
"""How the users of an emulation were served, see :mod:`studies.tables.service`."""
MAX_POWER = "max_tx_power_dbm"
PACKET_BITS = "bits_per_value"
"""Column of the bits of a value in packets; null without packets, which agrees with any number."""
LOCATION_COLUMNS = ("x_m", "y_m", "height_m", "path_loss_db", "tx_power_dbm")

_Columns = list[tuple[str, pa.DataType]]

_TEXT, _REAL, _WHOLE, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()


@dataclass(frozen=True)
class ReferenceColumn:
    """A reference method, and the column of its accuracy.

    Attributes:
        method: Name of the method.
        bound: Whether methods should be above it (``lower``) or below it (``upper``).
    """

    method: str
    bound: Literal["lower", "upper"]

    @property
    def column(self) -> str:
        """Column of its accuracy, in the rows of all other methods."""
        return f"{self.method.replace('-', '_')}_accuracy"

    @property
    def label(self) -> str:
        """Name in text and figures."""
        return self.method.replace("-", " ")


@dataclass(frozen=True, kw_only=True)
class TableLayout:
    """The columns of a study's tables, which follow from its systems and its task.

    Attributes:
        devices: Devices whose tokens have columns in ``results``, in this order. A column has the
            device's budget, or what it sent if it has none.
        losses: Columns of ``curves``; the first is the loss of the task.
        methods: Labels of the methods, without references.
        swept_devices: Devices whose token length the study sweeps.
        groups: Groups of samples, whose accuracies have columns in ``results``.
        parts: Groups of each part of a mixture of tasks; a part's accuracy has a column as well.
        metrics: Official scores of the task, which have columns in ``results``.
        graded: Whether an answer's score may lie between 0 and 1, instead of being 0 or 1.
        references: Reference methods, whose accuracies are in the rows of all others.
        streams: Streams whose loss rates and channel uses have columns in ``curves``.
        fitted: Whether token lengths follow from the deadline, so that conditions of two methods
            may be alike although their lengths differ.
    """

    devices: tuple[str, ...]
    losses: tuple[str, ...]
    methods: tuple[str, ...] = ()
    swept_devices: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    metrics: tuple[str, ...] = ()
    graded: bool = False
    references: tuple[ReferenceColumn, ...] = ()
    streams: tuple[str, ...] = ()
    fitted: bool = False

    @property
    def kinds(self) -> dict[str, tuple[str, ...]]:
        """Groups that each accuracy in ``results`` covers: those of a part of a mixture, or one."""
        return {**self.parts, **{group: (group,) for group in self.groups}}

    def groups_of(self, part: str | None) -> tuple[str, ...] | None:
        """Groups of a part of the task, or a single group; None, which stands for all, for None.

        Raises:
            ValueError: for an unknown part or group.
        """
        if part is not None and part not in self.kinds:
            known = ", ".join(self.kinds)
            raise ValueError(f"no part or group {part!r} of the task; there are: {known}")
        return None if part is None else self.kinds[part]

    @property
    def reference_methods(self) -> tuple[str, ...]:
        return tuple(reference.method for reference in self.references)

    @property
    def budget_columns(self) -> tuple[str, ...]:
        return tuple(f"tokens_{device}" for device in self.swept_devices)

    def budget_text(self, row: Mapping[Any, Any]) -> str:
        """A row's token lengths in the order of the devices: ``4+16``; ``-`` if it has none."""
        lengths = [row[column] for column in self.budget_columns]
        return "+".join(f"{length:g}" for length in lengths) if any(lengths) else "-"

    @property
    def condition(self) -> tuple[str, ...]:
        """Columns that identify a condition of a table: all but the seed."""
        return (
            *("method", "air", "access", "bandwidth_hz", MAX_POWER),
            *("deadline_ms", "users", PACKET_BITS),
            *("train_snr_db", "train_snr_span_db"),
            *self.budget_columns,
            "eval_snr_db",
        )

    @property
    def sort_by(self) -> tuple[str, ...]:
        """The order of the rows of ``results``."""
        return (*self.condition, "seed", "cell")

    @property
    def cell_columns(self) -> tuple[str, ...]:
        """Columns that identify a cell of a table; token lengths are those of the budget."""
        return tuple(name for name, _ in self._cell)

    @property
    def results(self) -> pa.Schema:
        """One row for each evaluated condition of a cell.

        Values are per sample (one question) unless the name says otherwise.
        """
        return _schema(
            [
                *_TRAINED,
                *_reals("eval_snr_db", "realised_snr_db", "realised_sinr_db", "ebn0_db"),
                *_reals("erased_fraction", "bandwidth_hz", MAX_POWER, "deadline_ms"),
                ("meets_deadline", _FLAG),
                (PACKET_BITS, _WHOLE),
                *_reals(*(f"tokens_{device}" for device in self.devices), "tokens_total"),
                *_POPULATION,
                *_reals("accuracy", "accuracy_low", "accuracy_high", "first_token_accuracy"),
                ("test_questions", _WHOLE),
                *_reals(*(f"accuracy_{kind}" for kind in self.kinds)),
                *_reals(*(f"score_{metric}" for metric in self.metrics)),
                *_reals("task_loss", "first_token_loss"),
                *_reals(*(reference.column for reference in self.references)),
                *_reals("majority_accuracy"),
                *_COSTS,
                *_MADE,
            ]
        )

    @property
    def phase_curves(self) -> pa.Schema:
        """One row for each training step of a phase.

        Losses that the phase does not have are null, and so are loss rates if a single user
        trains.
        """
        return _schema(self._step)

    @property
    def curves(self) -> pa.Schema:
        """One row for each training step of a cell's phases."""
        return _schema([*self._cell, *self._step])

    @property
    def answers(self) -> pa.Schema:
        """One row for each question and evaluated condition.

        Accuracy is the mean of ``right``, which is either ``exact`` (the score of the answer) or
        ``first_token``. ``right`` and ``exact`` are numbers if the task grades answers, and flags
        otherwise.
        """
        score = _REAL if self.graded else _FLAG
        return _schema(
            [
                *self._cell,
                ("eval_snr_db", _REAL),
                ("user", _WHOLE),
                *((name, _TEXT) for name in ("sample_id", "media_id", "group")),
                *(("right", score), ("exact", score), ("first_token", _FLAG)),
                ("predicted", _TEXT),
                ("latency_ms", _REAL),
            ]
        )

    @property
    def devices_table(self) -> pa.Schema:
        """One row for each device of a user and evaluated condition; means over its questions."""
        return _schema(
            [
                *self._cell,
                ("eval_snr_db", _REAL),
                ("user", _WHOLE),
                ("device", _TEXT),
                ("modality", _TEXT),
                *_reals("tokens", "realised_snr_db", "realised_sinr_db"),
                *_reals("erased_fraction", "outage_fraction"),
                ("questions", _WHOLE),
                *_reals("accuracy", "transmissions", "uplink_channel_uses", "payload_bits"),
                *_reals("airtime_ms", "energy_mj", *LOCATION_COLUMNS),
            ]
        )

    @property
    def _cell(self) -> _Columns:
        return [
            *_TRAINED,
            *_reals("bandwidth_hz", MAX_POWER, "deadline_ms"),
            *(("users", _WHOLE), (PACKET_BITS, _WHOLE)),
            *_reals(*self.budget_columns),
        ]

    @property
    def _step(self) -> _Columns:
        loss_rates = (f"loss_rate_{stream}" for stream in self.streams)
        uses = (f"channel_uses_{stream}" for stream in self.streams)
        return [
            ("phase", _TEXT),
            ("step", _WHOLE),
            *_reals(*self.losses, *loss_rates, "emulated_s"),
            ("samples", _WHOLE),
            *_reals(*uses, "uplink_bits", "gradient_bits", "tx_power_dbm"),
        ]


def _schema(columns: _Columns) -> pa.Schema:
    return pa.schema(columns, metadata={VERSION_KEY: str(SCHEMA_VERSION)})


def _reals(*names: str) -> _Columns:
    return [(name, _REAL) for name in names]


_TRAINED: _Columns = [
    ("study", _TEXT),
    ("cell", _TEXT),
    ("seed", _WHOLE),
    ("method", _TEXT),
    ("air", _TEXT),
    ("access", _TEXT),
    ("train_snr_db", _REAL),
    ("train_snr_span_db", _REAL),
]
_POPULATION: _Columns = [
    ("devices", _WHOLE),
    ("users", _WHOLE),
    *_reals(*SERVICE_COLUMNS),
]
_COSTS = _reals(
    *("uplink_channel_uses", "pilot_channel_uses", "control_bits", "payload_bits"),
    *("downlink_bits", "exchanged_bits", "feedback_bits"),
    *("airtime_ms", "energy_mj", "device_gflop", "bs_gflop", "device_ms", "station_ms"),
)
_MADE: _Columns = [
    ("train_steps", _WHOLE),
    *_reals("train_channel_uses", "train_airtime_s", "train_energy_j"),
    *_reals("train_uplink_bits", "train_downlink_bits"),
    ("learning_rate", _REAL),
    ("wall_s", _REAL),
    *((name, _TEXT) for name in ("status", "reason", "config", "versions")),
]
