"""Columns of a cell's rows that are known before it runs."""

from __future__ import annotations

import json
from functools import cache
from importlib.metadata import version
from typing import Any

from channel_models import SnrRange
from tokcom_core.systems import devices_of

from ..plan.operations import served_streams
from ..plan.specs import Cell
from ..plan.token_lengths import TokenLengths
from .columns import MAX_POWER, PACKET_BITS, TableLayout


def identity(cell: Cell, layout: TableLayout) -> dict[str, Any]:
    """The columns that all rows of a cell share in ``results``."""
    trained, nominal_db = cell.trained, cell.nominal_snr_db
    middle_db: float | None
    span_db: float | None
    if isinstance(nominal_db, SnrRange):
        middle_db, span_db = nominal_db.middle, nominal_db.span
    elif isinstance(nominal_db, str):
        middle_db = span_db = None
    else:
        middle_db, span_db = nominal_db, 0.0
    budget = cell.tested.tokens
    phases = [spec.definition.training for spec in trained.lineage]
    served = served_streams(cell.system, cell.task, budget)
    return {
        "study": cell.study,
        "cell": cell.key,
        "seed": cell.seed,
        "method": cell.method,
        "air": cell.air_label,
        "access": cell.crossing.link.access,
        "train_snr_db": middle_db,
        "train_snr_span_db": span_db,
        "bandwidth_hz": cell.bandwidth_hz,
        MAX_POWER: cell.max_tx_power_dbm,
        "deadline_ms": cell.deadline_ms,
        "users": cell.users,
        PACKET_BITS: cell.bits_per_value,
        **budget_columns(budget, layout),
        "devices": len(devices_of(served)),
        "train_steps": sum(training.steps for training in phases),
        "learning_rate": phases[-1].learning_rate,
        "config": cell.model_dump_json(),
        "versions": versions(),
    }


def budget_columns(tokens: TokenLengths, layout: TableLayout) -> dict[str, float]:
    """Columns of a token budget; 0 for devices of other systems."""
    return {f"tokens_{device}": float(tokens.get(device, 0)) for device in layout.swept_devices}


def cell_columns(cell: Cell, layout: TableLayout) -> dict[str, Any]:
    """Columns that identify a cell's rows in the tables beside ``results``."""
    known = identity(cell, layout)
    return {name: known[name] for name in layout.cell_columns}


@cache
def versions(**hardware: str) -> str:
    """Versions of the packages, and the hardware, that results depend on, as JSON."""
    names = ("tokcom", "torch", "transformers", "peft", "sionna", "ray", "av", "numpy")
    return json.dumps({**{name: version(name) for name in names}, **hardware})
