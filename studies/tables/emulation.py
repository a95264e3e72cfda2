"""From an emulation's journal to the tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from actors import Emulation, Evaluation, ReceptionSummary
from channel_models import COSTS, Overhead, from_db, mean_db, to_db
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Task

from ..plan.specs import Cell
from .columns import LOCATION_COLUMNS
from .costs import NetworkSizes, network_columns
from .outcome import EmulationScores, Outcome
from .service import answer_times, latencies_ms, loss_fractions, service_columns, transmissions

_SNRS = ("realised_snr_db", "realised_sinr_db")


def emulated_outcome(
    cell: Cell,
    eval_snr_db: float,
    emulation: Emulation,
    test: Samples,
    windows: Mapping[str, Mapping[str, float]],
) -> Outcome:
    """The outcome of an emulation that has ended.

    Retransmissions cost as much as first transmissions: costs are sums over all transmissions,
    divided by the number of questions. A question that was never received has a score of 0, or of
    NaN where nothing here can score answers.

    Raises:
        ValueError: if nobody has asked anything.
    """
    assert cell.emulate is not None
    traffic = emulation.traffic
    if not len(traffic):
        raise ValueError(
            "emulate: nobody asked a question; take more users, duration_s or questions_per_s"
        )
    journal = emulation.journal.read()
    asked = test.take(traffic.rows.tolist())
    once = transmissions(journal)
    received = once[once["received"]].set_index("request")
    silence = scores_of_silence(cell.task, asked)
    scores = _scores(journal, received, silence, emulation.interval_s)
    sizes = NetworkSizes(
        windows,
        emulation.device_weights(),
        emulation.hardware(),
    )
    tokens = {name: stream.tokens for name, stream in scores.streams.items()}
    network = network_columns(cell, sizes, tokens)
    times = answer_times(
        journal, traffic, emulation.interval_s, network["device_ms"], network["station_ms"]
    )
    columns = {
        **service_columns(journal, traffic, emulation.interval_s, times),
        **loss_fractions(journal, cell.emulate.faults, emulation.encoding_ms),
    }
    return Outcome(
        cell,
        eval_snr_db,
        scores,
        asked,
        sizes,
        EmulationScores(
            columns,
            tuple(traffic.users.tolist()),
            latencies_ms(times, len(asked)),
            _device_rows(journal, scores.scores if cell.metric == "exact" else scores.first_token),
        ),
    )


def scores_of_silence(task: Task, asked: Samples) -> list[float]:
    """Scores of questions that are never answered: 0, or NaN where nothing here can score them."""
    unknown = map(math.isnan, task.scores([""] * len(asked), asked))
    return [math.nan if is_unknown else 0.0 for is_unknown in unknown]


def _scores(
    journal: pd.DataFrame, received: pd.DataFrame, unanswered: Sequence[float], interval_s: float
) -> Evaluation:
    """The evaluation of all questions; those that were never received are ``unanswered``."""
    asked = len(unanswered)
    answered = received["score"].reindex(range(asked))
    intervals = len(journal) / journal["stream"].nunique()

    def of_questions(column: str, missing: Any) -> tuple[Any, ...]:
        return tuple(received[column].reindex(range(asked), fill_value=missing).tolist())

    return Evaluation(
        predicted=of_questions("predicted", ""),
        scores=tuple(answered.fillna(pd.Series(unanswered)).tolist()),
        first_token=of_questions("first_token", False),
        losses={},
        streams={str(stream): _summary(rows, asked) for stream, rows in journal.groupby("stream")},
        airtime_ms=1e3 * interval_s * intervals / asked,
    )


def _summary(rows: pd.DataFrame, asked: int) -> ReceptionSummary:
    """Reception of one stream: means over its transmissions, but costs per question.

    Tokens are those of one transmission; a missing device sends none. SNRs, which are averaged
    linearly, and erasures are those of what was sent.
    """
    sent = rows[rows["sent"]]
    costs = {name: float(sent[name].sum()) / asked for name in COSTS}
    return ReceptionSummary(
        sender=str(rows["device"].iloc[0]),
        tokens=float(rows["tokens"].where(rows["sent"], 0).mean()),
        realised_snr_db=mean_db(sent["realised_snr_db"].tolist()),
        sinr_db=mean_db(sent["realised_sinr_db"].tolist()),
        erased_fraction=float(sent["lost"].mean()) if len(sent) else 0.0,
        lost_fraction=float((rows["lost"] | ~rows["sent"]).mean()),
        sent_fraction=float(rows["sent"].mean()),
        overhead=Overhead(**costs),
        location={name: float(rows[name].mean()) for name in LOCATION_COLUMNS if name in rows},
    )


def _device_rows(journal: pd.DataFrame, right: Sequence[float]) -> list[dict[str, Any]]:
    """A row for each user's device; costs are means over its user's questions.

    Args:
        journal: Every transmission.
        right: Score of each question.
    """
    sent = journal["sent"]
    table = journal.assign(
        right=np.asarray(right, np.float64)[journal["request"]],
        out=journal["lost"] | ~sent,
        **{name: _map(from_db, journal[name]).where(sent) for name in _SNRS},
    )
    by_device = table.groupby(["user", "device"], sort=True)
    rows = by_device.agg(
        questions=("request", "nunique"),
        transmissions=("request", "size"),
        streams=("stream", "nunique"),
        tokens=("tokens", "sum"),
        lost=("lost", "sum"),
        sent=("sent", "sum"),
        outage_fraction=("out", "mean"),
        **{name: (name, "sum") for name in COSTS},
        **{name: (name, "mean") for name in (*_SNRS, *LOCATION_COLUMNS) if name in table},
    )
    once = table.drop_duplicates(["user", "device", "request"])
    rows["accuracy"] = once.groupby(["user", "device"], sort=True)["right"].mean()
    rows["erased_fraction"] = rows["lost"] / rows["sent"].where(rows["sent"] > 0)
    for name in _SNRS:
        rows[name] = _map(to_db, rows[name])
    rows["transmissions"] = rows["transmissions"] / rows["streams"]  # all of them at once
    for name in ("transmissions", "tokens", *COSTS):
        rows[name] = rows[name] / rows["questions"]
    rows = rows.rename(columns={"data_channel_uses": "uplink_channel_uses"}).reset_index()
    kept = rows.drop(columns=["streams", "lost", "sent", "pilot_channel_uses", "control_bits"])
    records = kept.astype(object).where(kept.notna(), None).to_dict("records")
    return [{str(name): value for name, value in record.items()} for record in records]


def _map(function: Callable[[Tensor], Tensor], column: pd.Series[float]) -> pd.Series[float]:
    values = torch.tensor(column.to_numpy(dtype="float64"))
    return pd.Series(function(values).numpy(), column.index)
