"""Paired comparison of how fast two methods learn, by networks of the same seeds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from .columns import TableLayout
from .comparison import check_sides, merge_conditions
from .files import Tables
from .filters import finished
from .statistics import MIN_SEEDS, t_quantile


def compare_learning(tables: Tables, table: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Difference in training loss, ``second`` minus ``first``, where both were trained alike.

    A network's training loss is the mean of the task's loss over all steps that train it: it is
    lower for what learns faster, and NaN if the training has diverged. The interval of the
    difference is Student's t over the seeds.

    Args:
        tables: Tables of the study.
        table: Rows of ``results``; token lengths that are 0 throughout a method are not matched.
        first, second: Labels of the methods.

    Returns:
        A row for each trained condition: its columns (the first value of those that networks do not
        depend on), ``seeds``, ``difference`` with its 95 %
        bounds, and ``interval``. The bounds are NaN with fewer than three seeds; difference and
        bounds are NaN where a network has diverged.

    Raises:
        ValueError: if the two are the same, or have no trained condition and seed in common.
    """
    check_sides(first, second)
    layout = tables.layout
    chosen = finished(table[table["method"].isin((first, second))])
    losses = tables.read_training_losses(list(chosen["cell"].unique()), layout.losses[0])
    done = chosen[chosen["cell"].isin(losses.index)]
    matched = done["train_snr_span_db"].isna()  # each trained at the one SNR that it is tested at
    done = done.assign(
        loss=done["cell"].map(losses), eval_snr_db=done["eval_snr_db"].where(matched)
    ).drop_duplicates(["method", "cell"])
    one, other = (done[done["method"] == method] for method in (first, second))
    left, right = _trained(layout, one), _trained(layout, other)
    shared = [*(name for name in left if name in right), "seed"]
    sides = one[[*left, "seed", "loss"]], other[[*right, "seed", "loss"]]
    both = merge_conditions(*sides, shared)
    if both.empty:
        raise ValueError(f"{first} and {second} have no trained network of a seed in common")
    both = both.assign(difference=both["loss_second"] - both["loss"])
    columns = [name for name in layout.condition if name in {*left, *right}]
    return pd.DataFrame(
        [{**condition, **_difference(pairs)} for condition, pairs in _conditions(both, columns)]
    )


_Condition = tuple[dict[str, Any], pd.DataFrame]
"""Columns of a condition, and its pairs of networks."""


def _conditions(both: pd.DataFrame, columns: list[str]) -> list[_Condition]:
    """Pairs of networks by condition; conditions that share networks, such as deadlines, are one.

    Networks are known by their losses. A seed that one of these conditions lacks may be in another.
    """
    network = ["seed", "loss", "loss_second"]
    found: list[_Condition] = []
    for condition, own in both.groupby(columns, dropna=False):
        known = own.dropna(subset=network)
        alike = [i for i, (_, pairs) in enumerate(found) if len(pairs.merge(known, on=network))]
        if not alike:
            found.append((dict(zip(columns, condition, strict=True)), own.drop_duplicates(network)))
            continue
        first, *others = alike
        pairs = pd.concat([*(found[i][1] for i in alike), own]).drop_duplicates(network)
        found[first] = found[first][0], pairs
        found = [one for i, one in enumerate(found) if i not in others]
    return found


def _trained(layout: TableLayout, rows: pd.DataFrame) -> list[str]:
    """Columns of a trained condition, without lengths and tested SNRs that are not matched."""
    missing = {n for n in layout.budget_columns if layout.fitted or not rows[n].any()}
    if rows["eval_snr_db"].isna().all():
        missing.add("eval_snr_db")
    return [n for n in layout.condition if n not in missing | {"method"}]


def _difference(rows: pd.DataFrame) -> dict[str, Any]:
    """Mean of the seeds' differences, with its interval."""
    by_seed = rows.groupby("seed")["difference"]
    values = by_seed.agg(lambda own: own.mean(skipna=False)).to_numpy()
    seeds, mean = len(values), float(np.mean(values))
    half = math.nan
    if seeds >= MIN_SEEDS:
        error = float(np.std(values, ddof=1)) / math.sqrt(seeds)
        half = t_quantile(seeds - 1) * error
    return {
        "seeds": seeds,
        "difference": mean,
        "difference_low": mean - half,
        "difference_high": mean + half,
        "interval": "seeds",
    }
