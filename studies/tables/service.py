"""How the users of an emulation were served: latencies, fairness, losses by cause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from actors import Faults
from actors.emulation.traffic import Traffic

from .columns import LOSS_COLUMNS, PERCENTILES, SERVICE_COLUMNS, TableLayout

SERVICE_NOTE = (
    f"{', '.join(f'{percent}th' for percent in PERCENTILES)} percentile of the latency; Jain's "
    "fairness of the users' service rates; fraction of the transmissions lost to outage, deadline, "
    "stragglers; questions that were not answered were given up, and count as late"
)
"""A note that explains the columns of :func:`summarise_service`."""


def answer_times(
    journal: pd.DataFrame,
    traffic: Traffic,
    interval_s: float,
    device_ms: float = 0.0,
    station_ms: float = 0.0,
) -> pd.DataFrame:
    """When each received question arrives at the base station, and when it is answered.

    A question arrives at the end of its interval, or with the last of its stragglers that the base
    station waits for. Devices encode before the question waits for an interval, so that all times
    but that of asking are ``device_ms`` later than in the journal.

    Args:
        journal: Every transmission; all streams of a question are sent at once.
        traffic: Questions that were asked.
        interval_s: Length of a scheduling interval.
        device_ms: Time that the devices compute for a question.
        station_ms: Time that the base station computes for a question.

    Returns:
        ``arrived_s``, ``answered_s`` and ``latency_ms``, from asking to the answer, by question.
    """
    beyond_ms = journal["ends_ms"] + journal["waited_ms"] - 1e3 * interval_s
    received = journal.assign(beyond_ms=beyond_ms)[journal["received"]].groupby("request")
    waited_ms = received["beyond_ms"].max().clip(lower=0)
    arrived_s = received["start_s"].first() + interval_s + 1e-3 * (waited_ms + device_ms)
    answered_s = answered_in_turn(arrived_s, 1e-3 * station_ms)
    asked_s = traffic.arrivals_s[arrived_s.index]
    return pd.DataFrame(
        {
            "arrived_s": arrived_s,
            "answered_s": answered_s,
            "latency_ms": 1e3 * (answered_s - asked_s),
        }
    )


def latencies_ms(times: pd.DataFrame, asked: int) -> tuple[float | None, ...]:
    """The latency of each of ``asked`` questions; None for one that was never answered."""
    known = times["latency_ms"].to_dict()
    return tuple(known.get(question) for question in range(asked))


def answered_in_turn(arrived_s: pd.Series[float], each_s: float) -> pd.Series[float]:
    """When a server has answered each question, one after the other in the order of arrival.

    Args:
        arrived_s: When each question arrives.
        each_s: Time that the server takes for a question.
    """
    queue = arrived_s.sort_values(kind="stable")
    before_s = each_s * np.arange(len(queue))
    begun_s = np.maximum.accumulate(queue.to_numpy() - before_s) + before_s
    return pd.Series(begun_s + each_s, queue.index).reindex(arrived_s.index)


def service_columns(
    journal: pd.DataFrame, traffic: Traffic, interval_s: float, times: pd.DataFrame
) -> dict[str, float | None]:
    """The columns of ``results`` about questions: how many were answered, how soon, how fairly.

    Fairness is that of the users' service rates. A user's rate is the mean over its questions of
    1 / latency, which is 0 for a question that was given up. ``answers_per_s`` divides by the time
    until the last interval has ended and the base station has answered the questions still waiting.

    Args:
        journal: Every transmission; all streams of a question are sent at once.
        traffic: Questions that were asked, at least one.
        interval_s: Length of a scheduling interval.
        times: Times of :func:`answer_times`.
    """
    once = transmissions(journal)
    asked, latency_ms = len(traffic), times["latency_ms"]
    rates = (1 / latency_ms).reindex(range(asked), fill_value=0.0)
    sent_s = float(once["start_s"].max()) + interval_s
    ends_s = max([sent_s, *times["answered_s"]])
    columns = {
        "answered_fraction": len(times) / asked,
        "transmissions": len(once) / asked,
        "latency_ms": float(latency_ms.mean()),
        **{f"latency_p{p}_ms": float(latency_ms.quantile(p / 100)) for p in PERCENTILES},
        "answers_per_s": len(times) / ends_s,
        "fairness": jain_index(rates.groupby(traffic.users).mean().tolist()),
    }
    return {name: None if math.isnan(value) else value for name, value in columns.items()}


def transmissions(journal: pd.DataFrame) -> pd.DataFrame:
    """A row for each attempt of a question: that of one stream, since all are sent at once."""
    once: pd.DataFrame = journal[journal["stream"] == journal["stream"].iloc[0]]
    return once


def jain_index(values: Sequence[float]) -> float:
    """Jain's index (sum x)^2 / (n sum x^2) of n values, 1 if all are alike; NaN if all are 0.

    Jain, Chiu and Hawe, 'A quantitative measure of fairness and discrimination', 1984.
    """
    x = np.asarray(values, dtype=np.float64)
    squares = float(np.square(x).sum())
    return float(x.sum()) ** 2 / (len(x) * squares) if squares else math.nan


def loss_fractions(
    journal: pd.DataFrame, faults: Faults, encoding_ms: Mapping[str, float]
) -> dict[str, float]:
    """Fraction of what was sent that was lost to each cause, the mean over streams.

    A loss counts for the first of these causes that alone explains it: a deep fade, encoding and
    airtime beyond the deadline, a straggler's delay on top of them.

    Args:
        journal: Every transmission.
        faults: Faults of the emulation, by whose rules it was lost.
        encoding_ms: Time that each device computes before it sends; 0 for devices not in it.
    """
    outage_sinr_db = -math.inf if faults.outage_sinr_db is None else faults.outage_sinr_db
    deadline_ms = math.inf if faults.deadline_ms is None else faults.deadline_ms
    sent = journal[journal["sent"]]
    faded = sent["realised_sinr_db"] < outage_sinr_db
    before_ms = sent["device"].map(lambda device: encoding_ms.get(device, 0.0)).astype(float)
    late = sent["ends_ms"] + before_ms > deadline_ms
    causes = (faded, late & ~faded, ~late & ~faded)
    if sent.empty:
        return dict.fromkeys(LOSS_COLUMNS, 0.0)
    return {
        name: float((sent["lost"] & cause).groupby(sent["stream"]).mean().mean())
        for name, cause in zip(LOSS_COLUMNS, causes, strict=True)
    }


def emulated(results: pd.DataFrame) -> pd.DataFrame:
    """The finished rows of ``results`` in which the users of an emulation asked."""
    rows: pd.DataFrame = results[results["answers_per_s"].notna()]
    return rows


def summarise_service(results: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """Means over the seeds of :data:`SERVICE_COLUMNS`, a row for each emulated condition."""
    groups = emulated(results).groupby(list(layout.condition), dropna=False, sort=True)
    return groups[list(SERVICE_COLUMNS)].mean().reset_index()
