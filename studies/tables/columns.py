"""Columns of the tables: stable names and types, units in the names, a schema version."""

from __future__ import annotations

import pyarrow as pa

from actors import MODALITY_OF
from tokcom_core.datasets.samples import QUESTION_TYPE_NAMES

SCHEMA_VERSION = 4

_TEXT, _REAL, _WHOLE, _FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()

_RUN = [("study", _TEXT), ("cell", _TEXT), ("seed", _WHOLE), ("method", _TEXT)]
_TRAINED = [*_RUN, ("air", _TEXT), ("access", _TEXT), ("train_snr_db", _REAL)]
_CELL = [
    *_TRAINED,
    ("bandwidth_hz", _REAL),
    ("deadline_ms", _REAL),
    ("tokens_audio", _REAL),
    ("tokens_vision", _REAL),
]
CELL_COLUMNS = tuple(name for name, _ in _CELL)
"""What tells the cells of a table apart; token lengths are those of the budget."""

RESULTS = pa.schema(
    [
        *_TRAINED,
        ("eval_snr_db", _REAL),
        ("realised_snr_db", _REAL),
        ("realised_sinr_db", _REAL),
        ("ebn0_db", _REAL),
        ("erased_fraction", _REAL),
        ("bandwidth_hz", _REAL),
        ("deadline_ms", _REAL),
        ("meets_deadline", _FLAG),
        ("tokens_text", _REAL),
        ("tokens_audio", _REAL),
        ("tokens_vision", _REAL),
        ("tokens_total", _REAL),
        ("devices", _WHOLE),
        ("users", _WHOLE),
        ("answered_fraction", _REAL),
        ("transmissions", _REAL),
        ("latency_ms", _REAL),
        ("answers_per_s", _REAL),
        ("accuracy", _REAL),
        ("accuracy_low", _REAL),
        ("accuracy_high", _REAL),
        ("first_token_accuracy", _REAL),
        ("test_questions", _WHOLE),
        *[(f"accuracy_{name}", _REAL) for name in QUESTION_TYPE_NAMES],
        ("task_loss", _REAL),
        ("first_token_loss", _REAL),
        ("blind_accuracy", _REAL),
        ("text_oracle_accuracy", _REAL),
        ("majority_accuracy", _REAL),
        ("uplink_channel_uses", _REAL),
        ("pilot_channel_uses", _REAL),
        ("control_bits", _REAL),
        ("payload_bits", _REAL),
        ("downlink_bits", _REAL),
        ("exchanged_bits", _REAL),
        ("airtime_ms", _REAL),
        ("energy_mj", _REAL),
        ("device_gflop", _REAL),
        ("bs_gflop", _REAL),
        ("train_steps", _WHOLE),
        ("learning_rate", _REAL),
        ("wall_s", _REAL),
        ("status", _TEXT),
        ("reason", _TEXT),
        ("config", _TEXT),
        ("versions", _TEXT),
    ],
    metadata={"tokcom_schema_version": str(SCHEMA_VERSION)},
)
"""Values are per sample (one question) unless the name says otherwise."""

_STEP = [
    ("stage", _TEXT),
    ("step", _WHOLE),
    *(
        (name, _REAL)
        for name in (
            "task",
            "first_token",
            "reconstruction_caption",
            "reconstruction_question",
            "contrastive_audio",
            "contrastive_vision",
            *(f"loss_rate_{stream}" for stream in MODALITY_OF),
            "emulated_s",
        )
    ),
]
STAGE_CURVES = pa.schema(_STEP)
"""Of each training step of a stage; null where it has no such loss, or no crowd trains."""

CURVES = pa.schema([*_CELL, *_STEP], metadata={"tokcom_schema_version": str(SCHEMA_VERSION)})
"""Of each training step of a cell's stages."""

ANSWERS = pa.schema(
    [
        *_CELL,
        ("eval_snr_db", _REAL),
        ("user", _WHOLE),
        ("question_id", _TEXT),
        ("video_id", _TEXT),
        ("group", _TEXT),
        ("right", _FLAG),
        ("exact", _FLAG),
        ("first_token", _FLAG),
    ],
    metadata={"tokcom_schema_version": str(SCHEMA_VERSION)},
)
"""One row a question and evaluated condition; ``group`` is the type of the question, ``right``
what accuracy counts."""

SITE = ("x_m", "y_m", "height_m", "path_loss_db", "tx_power_dbm")

DEVICES = pa.schema(
    [
        *_CELL,
        ("eval_snr_db", _REAL),
        ("user", _WHOLE),
        ("device", _TEXT),
        ("modality", _TEXT),
        ("tokens", _REAL),
        ("realised_snr_db", _REAL),
        ("realised_sinr_db", _REAL),
        ("erased_fraction", _REAL),
        ("outage_fraction", _REAL),
        ("questions", _WHOLE),
        ("accuracy", _REAL),
        ("transmissions", _REAL),
        ("uplink_channel_uses", _REAL),
        ("payload_bits", _REAL),
        ("airtime_ms", _REAL),
        ("energy_mj", _REAL),
        *[(name, _REAL) for name in SITE],
    ],
    metadata={"tokcom_schema_version": str(SCHEMA_VERSION)},
)
"""One row a user's device and evaluated condition; means over its questions."""

WALL_CLOCK_COLUMNS = ("wall_s",)
CONDITION = (
    "method",
    "air",
    "access",
    "bandwidth_hz",
    "deadline_ms",
    "train_snr_db",
    "tokens_audio",
    "tokens_vision",
    "eval_snr_db",
)
"""What tells the conditions of a table apart: all but the seed."""
SORT_BY = (*CONDITION, "seed", "cell")
