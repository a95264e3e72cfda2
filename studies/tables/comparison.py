"""Paired comparison of two methods: the same questions, answered by networks of the same seeds."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from .columns import PACKET_BITS, TableLayout
from .files import Tables
from .filters import finished
from .statistics import mean_interval

_QUESTION = ["seed", "media_id", "sample_id", "user"]
_ASKED = "asked"
"""How often the user of an emulation has asked a question before."""


def compare_methods(
    tables: Tables, table: pd.DataFrame, first: str, second: str, part: str | None = None
) -> pd.DataFrame:
    """Difference in accuracy, ``first`` minus ``second``, in each condition that both have.

    Conditions are matched in all their columns but a few, whose values are all compared: token
    lengths of devices that only one method has, bits of a value where only one sends packets, and
    token lengths that were fitted to the deadline (the deadline itself is matched). A reference has
    one condition, which is compared with every condition of the other method.

    Args:
        tables: Tables of the study.
        table: Rows of ``results``.
        first, second: Labels of the methods.
        part: Part of the task, or group of its questions, that counts; all of them by default.

    Returns:
        A row for each pair of conditions: their columns; ``seeds`` and ``questions``;
        ``accuracy_first``, ``accuracy_second``; ``difference`` with its 95 % bounds and what
        varies in them (see :mod:`studies.tables.statistics`); ``mcnemar_p``, the p-values of
        McNemar's exact test within each seed, in the seeds' order, NaN where some answer is neither
        right nor wrong.
        Fitted token lengths of ``second`` are in ``tokens_DEVICE_second``. Of conditions that
        differ only in their deadline, and so share their answers, only the first has a row.

    Raises:
        ValueError: for an unknown method or part, or if the two are the same or have no condition
            or no question in common.
    """
    check_sides(first, second)
    layout = tables.layout
    done = finished(table)
    one, other = (_rows_of(done, method) for method in (first, second))
    right = _condition_columns(layout, second, other)
    left = _condition_columns(layout, first, one) if right else _all_columns(layout, one)
    pairs = _pairs(layout, one[_shown(layout, left)], other[_shown(layout, right)])
    pairs = pairs.drop_duplicates([name for name in pairs if name != "deadline_ms"])
    if pairs.empty:
        raise ValueError(f"{first} and {second} have no condition in common in this study")
    groups = layout.groups_of(part)
    differences = []
    for record in pairs.to_dict("records"):
        condition = {str(name): value for name, value in record.items()}
        scores, others = (
            _scores(tables, _where(rows, {name: condition[name] for name in names}), groups)
            for rows, names in ((one, left), (other, right))
        )
        if not right:  # a reference has one user, who stands for all
            others = others.droplevel(["user", _ASKED])
        elif not left:
            scores = scores.droplevel(["user", _ASKED])
        both = pd.merge(scores.rename("one").reset_index(), others.rename("other").reset_index())
        answered = both.dropna(subset=["one", "other"])
        if len(answered):
            differences.append({**condition, **_difference(answered)})
    if not differences:
        raise ValueError(f"{first} and {second} have no question that both have answered")
    return pd.DataFrame(differences)


def check_sides(first: str, second: str) -> None:
    """Raises ValueError if a method is compared with itself."""
    if first == second:
        raise ValueError(f"the two sides are the same: {first}")


def _rows_of(done: pd.DataFrame, method: str) -> pd.DataFrame:
    rows = done[done["method"] == method]
    if rows.empty:
        known = ", ".join(sorted(done["method"].unique()))
        raise ValueError(f"no finished cell of the method {method!r}; there are: {known}")
    return rows


def _pairs(layout: TableLayout, one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Conditions alike in the columns that both have; if one has no columns, all of the other."""
    one, other = one.drop_duplicates(), other.drop_duplicates()
    both = one.columns.intersection(other.columns)
    if shared := [name for name in both if _matched(layout, name)]:
        pairs = merge_conditions(one, other, shared)
    else:
        pairs = one if len(one.columns) else other
    columns = [name for name in layout.condition if name != "method"]
    lengths = [f"{name}_second" for name in layout.budget_columns if f"{name}_second" in pairs]
    pairs = pairs.reindex(columns=[*columns, *lengths])
    return pairs.fillna(dict.fromkeys([*layout.budget_columns, *lengths], 0.0))


def _matched(layout: TableLayout, column: str) -> bool:
    return not (layout.fitted and column in layout.budget_columns)


def _shown(layout: TableLayout, columns: list[str]) -> list[str]:
    """Columns of a method's conditions, with those token lengths that follow from others."""
    return [*columns, *layout.budget_columns] if columns and layout.fitted else columns


def _condition_columns(layout: TableLayout, method: str, rows: pd.DataFrame) -> list[str]:
    """Columns that tell the conditions of a method apart; none for a reference, which has one."""
    return [] if method in layout.reference_methods else _all_columns(layout, rows)


def _all_columns(layout: TableLayout, rows: pd.DataFrame) -> list[str]:
    """Columns of a condition, without token lengths that are not matched or do not exist."""
    missing = {name for name in layout.budget_columns if not rows[name].any()}
    return [
        name
        for name in layout.condition
        if name not in missing | {"method"} and _matched(layout, name)
    ]


def merge_conditions(one: pd.DataFrame, other: pd.DataFrame, on: Sequence[str]) -> pd.DataFrame:
    """Pairs of rows alike in these columns; in bits of a value only if both send packets."""
    alike = [name for name in on if name != PACKET_BITS]
    both = one.merge(other, on=alike, suffixes=("", "_second"))
    first, second = both[PACKET_BITS], both[f"{PACKET_BITS}_second"]
    matched = both[first.eq(second) | first.isna() | second.isna()]
    return matched.assign(**{PACKET_BITS: first.fillna(second)})


def _where(rows: pd.DataFrame, values: dict[str, Any]) -> pd.DataFrame:
    for name, value in values.items():
        alike, missing = rows[name].eq(value), rows[name].isna()
        if name == PACKET_BITS:  # that of the other method, where this one sends no packets
            rows = rows[alike | missing]
        else:
            rows = rows[missing if pd.isna(value) else alike]
    return rows


def _scores(tables: Tables, rows: pd.DataFrame, groups: Collection[str] | None) -> pd.Series[float]:
    """The score of each question of the cells of these rows, each time that it was asked."""
    scored = []
    for cell, snr_db in rows[["cell", "eval_snr_db"]].itertuples(index=False):
        answers = _where(tables.read_answers(cell), {"eval_snr_db": snr_db})
        chosen = answers if groups is None else answers[answers["group"].isin(groups)]
        scored.append(chosen.assign(**{_ASKED: chosen.groupby(_QUESTION, dropna=False).cumcount()}))
    answers = pd.concat(scored).astype({"right": float})
    scores: pd.Series[float] = answers.groupby([*_QUESTION, _ASKED], dropna=False)["right"].mean()
    return scores


def _difference(scores: pd.DataFrame) -> dict[str, Any]:
    """The difference of the scores ``one`` and ``other`` of each question."""
    graded = not scores[["one", "other"]].isin((0.0, 1.0)).all(axis=None)
    by_question = scores.assign(difference=scores["one"] - scores["other"])
    by_clip = by_question.pivot_table(
        "difference", "seed", "media_id", ["sum", "size"], fill_value=0
    )
    sums, asked = by_clip["sum"].to_numpy(float), by_clip["size"].to_numpy(int)
    interval = mean_interval(sums, asked, lowest=-1.0)
    question = [name for name in _QUESTION if name in by_question]
    once = by_question.groupby(question, dropna=False)["difference"].mean()
    seeds = once.groupby("seed")  # a question asked again is no further evidence
    return {
        "seeds": len(seeds),
        "questions": len(scores),
        "accuracy_first": scores["one"].mean(),
        "accuracy_second": scores["other"].mean(),
        "difference": by_question["difference"].mean(),
        "difference_low": interval.low,
        "difference_high": interval.high,
        "interval": interval.over,
        "mcnemar_p": [math.nan if graded else _mcnemar(pairs.to_numpy()) for _, pairs in seeds],
    }


def _mcnemar(differences: NDArray[np.float64]) -> float:
    """Exact two-sided p-value, if either is as likely to be the only one that is right."""
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    if not better + worse:
        return 1.0
    from scipy.stats import binomtest  # takes a second

    return float(binomtest(better, better + worse).pvalue)
