"""Summary of a results table: each condition over its seeds."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from channel_models import mean_db

from .columns import MAX_POWER, PACKET_BITS, TableLayout
from .files import Tables
from .filters import finished, without_references
from .statistics import Interval, mean_interval

SWEEPS = (
    *("access", "bandwidth_hz", MAX_POWER, "deadline_ms", "users", PACKET_BITS),
    *("train_snr_db", "train_snr_span_db"),
)
"""Columns beside method, air, tokens and evaluated SNR in which conditions may differ."""
OF_ALL_QUESTIONS = (
    *("realised_snr_db", "uplink_channel_uses", "airtime_ms", "latency_ms", "meets_deadline"),
    "energy_mj",
)
"""Columns of a summary that are means over all questions, even if only a part is counted."""
_ASKED = ["cell", "eval_snr_db", "media_id", "group"]
_CELLS_AT_ONCE = 100
"""Number of cells whose answers are in memory together."""


def count_answers(tables: Tables, cells: Iterable[str]) -> pd.DataFrame:
    """Numbers of ``asked`` questions and ``right`` answers by cell, evaluated SNR, clip and group.

    ``right`` is a sum of scores; answers without a score do not count. Failed cells have no rows.

    Args:
        tables: Tables of the study.
        cells: Keys of the cells.
    """
    tallies = [pd.DataFrame(columns=[*_ASKED, "right", "asked"])]
    keys = list(cells)
    for start in range(0, len(keys), _CELLS_AT_ONCE):
        batch = keys[start : start + _CELLS_AT_ONCE]
        answers = tables.read_all_answers(batch, [*_ASKED, "right"])
        scored = answers.astype({"right": float})  # some answers may have no score
        by_clip = scored.groupby(_ASKED, dropna=False, sort=False)["right"]
        counts = pd.DataFrame({"right": by_clip.sum(), "asked": by_clip.count()})
        tallies.append(counts.reset_index())
    return pd.concat([tally for tally in tallies if len(tally)] or tallies[:1], ignore_index=True)


def summarise(table: pd.DataFrame, answered: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """Accuracy of each condition over all seeds, with its 95 % interval.

    ``interval`` says what varies (see :mod:`studies.tables.statistics`); it is
    empty, and the bounds are NaN, if a cell's answers were not kept.

    Args:
        table: Rows of ``results``.
        answered: Counts of :func:`count_answers`.
        layout: Layout of the tables.
    """
    done = finished(table)
    done = done.assign(right=done["accuracy"] * done["test_questions"])
    groups = done.groupby(list(layout.condition), dropna=False, sort=True)
    summary = groups.agg(
        seeds=("seed", "nunique"),
        right=("right", "sum"),
        questions=("test_questions", "sum"),
        **{r.column: (r.column, "mean") for r in layout.references},
        realised_snr_db=("realised_snr_db", lambda snrs_db: mean_db(snrs_db.tolist())),
        uplink_channel_uses=("uplink_channel_uses", "mean"),
        airtime_ms=("airtime_ms", "mean"),
        latency_ms=("latency_ms", "mean"),
        meets_deadline=("meets_deadline", "mean"),
        energy_mj=("energy_mj", "mean"),
        train_airtime_s=("train_airtime_s", "mean"),
    ).reset_index()
    keys = done.assign(condition=groups.ngroup())[["condition", "seed", "cell", "eval_snr_db"]]
    counts = keys.merge(answered.astype({"eval_snr_db": float}), "left", ["cell", "eval_snr_db"])
    counts = counts.assign(clip=pd.factorize(counts["media_id"], sort=True)[0])
    intervals = [_interval(rows) for _, rows in counts.groupby("condition")]
    kinds: list[Any] = [None if interval is None else interval.over for interval in intervals]
    summary = summary.assign(
        accuracy=summary["right"] / summary["questions"],
        accuracy_low=[math.nan if interval is None else interval.low for interval in intervals],
        accuracy_high=[math.nan if interval is None else interval.high for interval in intervals],
        interval=kinds,
    )
    first = [*layout.condition, "seeds", "questions", "accuracy", "accuracy_low", "accuracy_high"]
    rest = summary.columns.difference([*first, "right"], sort=False)
    return summary[[*first, *rest]]


def summarise_part(
    table: pd.DataFrame, answered: pd.DataFrame, layout: TableLayout, part: str | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows of ``results`` whose accuracies are those of a part of the task, and their summary.

    Args:
        table: Rows of ``results``.
        answered: Counts of :func:`count_answers`.
        layout: Layout of the tables.
        part: Part of the task, or group of its questions; None for all of them.

    Returns:
        The rows and their summary. In both, :data:`OF_ALL_QUESTIONS` are those of the whole test.

    Raises:
        ValueError: for an unknown part or group.
    """
    groups = layout.groups_of(part)
    if groups is not None:
        answered = answered[answered["group"].isin(groups)]
        table = _results_of_part(table, answered, layout)
        table = table[table["test_questions"] > 0]
    return table, summarise(table, answered, layout)


def _results_of_part(
    table: pd.DataFrame, answered: pd.DataFrame, layout: TableLayout
) -> pd.DataFrame:
    """Finished rows of ``results`` whose accuracies are those of one part of a mixture of tasks.

    Args:
        table: Rows of ``results``.
        answered: Counts of :func:`count_answers` of the part's groups.
        layout: Layout of the tables.
    """
    by_row = answered.astype({"eval_snr_db": float}).groupby(["cell", "eval_snr_db"], dropna=False)
    counts = by_row[["right", "asked"]].sum().reset_index()
    rows = finished(table).merge(counts, "left", ["cell", "eval_snr_db"])
    rows = rows.assign(
        accuracy=rows["right"] / rows["asked"], test_questions=rows["asked"].fillna(0).astype(int)
    )
    for reference in layout.references:
        accuracies = rows[rows["method"] == reference.method].set_index("seed")["accuracy"]
        rows[reference.column] = rows["seed"].map(accuracies)
    return rows.drop(columns=["right", "asked"])


def _interval(rows: pd.DataFrame) -> Interval | None:
    """The interval of one condition, from a row of counts for each seed and clip."""
    if rows["asked"].isna().any():
        return None
    seeds, seed = np.unique(rows["seed"], return_inverse=True)
    clips, clip = np.unique(rows["clip"], return_inverse=True)
    right, asked = np.zeros((len(seeds), len(clips))), np.zeros((len(seeds), len(clips)), int)
    np.add.at(right, (seed, clip), rows["right"].to_numpy(float))
    np.add.at(asked, (seed, clip), rows["asked"].to_numpy(int))
    return mean_interval(right, asked)


def interval_note(summary: pd.DataFrame, fewer: str = "of fewer than three seeds") -> str:
    """A sentence that explains the intervals of a summary.

    Args:
        summary: Rows with intervals.
        fewer: Words that say which intervals are over clips alone, for instance by their mark.
    """
    kinds = set(summary["interval"].dropna())
    if not kinds:
        return "no intervals: the answers of these cells were not kept"
    if kinds == {"clips"}:
        return "95 % interval over clips alone; from three seeds on, over seeds as well"
    note = "95 % interval over seeds and clips"
    return f"{note}; {fewer}, over clips alone" if "clips" in kinds else note


def swept(rows: pd.DataFrame, layout: TableLayout) -> list[str]:
    """Columns beside method, air, tokens and evaluated SNR in which these conditions differ."""
    by_air = without_references(rows, layout).groupby("air", dropna=False)
    return [name for name in SWEEPS if (by_air[name].nunique(dropna=name == PACKET_BITS) > 1).any()]
