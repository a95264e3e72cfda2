"""A study's conditions as a table on the screen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import pandas as pd
from rich.table import Table
from rich.text import Text

from ..tables.claims import Verdict
from ..tables.columns import LOSS_COLUMNS, MAX_POWER, PACKET_BITS, PERCENTILES, TableLayout
from ..tables.summary import SWEEPS, interval_note, swept
from .printing import plain_table

Row = dict[str, Any]
_Column = tuple[str, Callable[[Row], str]]
_SHOWN = 8
"""Maximum number of reasons in a note."""
_LATENCIES = tuple(f"latency_p{percent}_ms" for percent in PERCENTILES)


def conditions_table(summary: pd.DataFrame, layout: TableLayout, realised: bool = False) -> Table:
    """A row for each condition of :func:`studies.tables.summary.summarise`.

    Columns of values that are not swept are left out, so that the table fits eighty characters.

    Args:
        summary: Summary of the results.
        layout: Layout of the tables.
        realised: Whether the realised SNR stands beside the nominal one.
    """
    mixed = summary["interval"].nunique() > 1
    received: _Column = ("realised", lambda row: f"{row['realised_snr_db']:.1f}")
    return _table(
        summary,
        [
            ("method", lambda row: str(row["method"])),
            *_condition_columns(swept(summary, layout), layout),
            *([received] if realised else []),
            ("accuracy", lambda row: accuracy_text(row, mixed)),
            ("uses", lambda row: f"{row['uplink_channel_uses']:.0f}"),
            *_time_columns(summary),
            *([("in time", _in_time)] if summary["deadline_ms"].notna().any() else []),
        ],
    )


def _time_columns(rows: pd.DataFrame) -> list[_Column]:
    """The airtime, and the latency if it differs."""
    columns: list[_Column] = [("ms", lambda row: f"{row['airtime_ms']:.3g}")]
    if not rows["latency_ms"].equals(rows["airtime_ms"]):
        columns.append(("latency", lambda row: f"{row['latency_ms']:.3g}"))
    return columns


def _in_time(row: Row) -> str:
    """Whether a condition meets its deadline; the fraction, if only some seeds do."""
    if math.isnan(row["deadline_ms"]):
        return "-"
    share = row["meets_deadline"]
    return {0.0: "no", 1.0: "yes"}.get(share, _share(share))


def differences_table(found: pd.DataFrame, first: str, second: str, layout: TableLayout) -> Table:
    """A row for each pair of conditions of :func:`studies.tables.comparison.compare_methods`."""
    sweeps = [name for name in SWEEPS if found[name].nunique(dropna=name == PACKET_BITS) > 1]
    mixed = found["interval"].nunique() > 1
    return _table(
        found,
        [
            *_condition_columns(sweeps, layout),
            *_second_tokens(found, second, layout),
            (first, lambda row: _share(row["accuracy_first"])),
            (second, lambda row: _share(row["accuracy_second"])),
            ("difference", partial(_difference_text, mixed=mixed)),
            ("McNemar's p, by seed", lambda row: ", ".join(map(_p_text, row["mcnemar_p"]))),
        ],
    )


def _second_tokens(found: pd.DataFrame, second: str, layout: TableLayout) -> list[_Column]:
    """Token lengths of the second method, if they are not matched."""
    own = {name: f"{name}_second" for name in layout.budget_columns}
    if not set(own.values()) <= set(found):
        return []

    def text(row: Row) -> str:
        return layout.budget_text({name: row[there] for name, there in own.items()})

    return [(f"tokens of {second}", text)]


def allocation_table(found: pd.DataFrame, layout: TableLayout) -> Table:
    """A row for each user of :func:`studies.tables.allocation.allocate`."""
    mixed = found["interval"].nunique() > 1
    shared = ("access", "bandwidth_hz", "deadline_ms")  # alike for all, or own columns
    sweeps = [name for name in swept(found, layout) if name not in shared]
    return _table(
        found,
        [
            ("user", lambda row: str(row["user"])),
            ("SNR", lambda row: _number(row["snr_db"])),
            ("blocks", lambda row: str(row["resource_blocks"])),
            ("MHz", lambda row: _number(row["bandwidth_hz"] / 1e6)),
            ("method", lambda row: str(row["method"])),
            *_condition_columns(sweeps, layout),
            ("accuracy", lambda row: accuracy_text(row, mixed)),
            *_time_columns(found),
            ("mJ", lambda row: f"{row['energy_mj']:.3g}"),
        ],
    )


def claims_table(verdicts: pd.DataFrame) -> Table:
    """A row for each claim of :func:`studies.tables.claims.judge`.

    It says in how many conditions the claim is shown, not shown, contradicted or untested.
    """
    found = [name for name in get_args(Verdict) if verdicts["verdict"].eq(name).any()]
    by_claim = verdicts.groupby(["claim", "source"], sort=False)["verdict"]
    counts = [
        {"claim": claim, "source": source, **own.value_counts().reindex(found, fill_value=0)}
        for (claim, source), own in by_claim
    ]
    return _table(
        pd.DataFrame(counts),
        [
            ("claim", lambda row: str(row["claim"])),
            ("source", lambda row: row["source"] or "-"),
            *((name, lambda row, name=name: str(row[name])) for name in found),
        ],
    )


def service_table(service: pd.DataFrame, layout: TableLayout) -> Table:
    """A row for each condition of :func:`studies.tables.service.summarise_service`."""
    return _table(
        service,
        [
            ("method", lambda row: str(row["method"])),
            *_condition_columns(swept(service, layout), layout),
            ("answered", lambda row: _share(row["answered_fraction"])),
            ("latency (ms)", lambda row: "/".join(f"{row[name]:.1f}" for name in _LATENCIES)),
            *([("late", _late)] if service["deadline_ms"].notna().any() else []),
            ("fairness", lambda row: _share(row["fairness"])),
            ("lost", lambda row: "/".join(_share(row[name]) for name in LOSS_COLUMNS)),
        ],
    )


def _late(row: Row) -> str:
    """The fraction of the questions that were not answered by their deadline."""
    return "-" if math.isnan(row["deadline_ms"]) else _share(row["late_fraction"])


def _condition_columns(sweeps: Sequence[str], layout: TableLayout) -> list[_Column]:
    """Air, these swept columns, evaluated SNR and token lengths."""
    optional: dict[str, _Column] = {
        "access": ("access", lambda row: str(row["access"])),
        "bandwidth_hz": ("MHz", lambda row: _number(row["bandwidth_hz"] / 1e6)),
        MAX_POWER: ("dBm", lambda row: _number(row[MAX_POWER])),
        "deadline_ms": ("deadline", lambda row: _number(row["deadline_ms"])),
        "users": ("users", lambda row: _number(row["users"])),
        PACKET_BITS: ("bits", lambda row: _number(row[PACKET_BITS])),
        "train_snr_db": ("trained", _trained),
        "train_snr_span_db": ("over", lambda row: _number(row["train_snr_span_db"])),
    }
    return [
        ("air", lambda row: str(row["air"])),
        *(optional[name] for name in sweeps),
        ("dB", lambda row: _number(row["eval_snr_db"])),
        ("tokens", layout.budget_text),
    ]


def _trained(row: Mapping[str, Any]) -> str:
    matched = pd.isna(row["train_snr_db"]) and pd.isna(row["train_snr_span_db"])
    return "matched" if matched else _number(row["train_snr_db"])


def _table(rows: pd.DataFrame, columns: Sequence[_Column]) -> Table:
    shown = plain_table(*(name for name, _ in columns))
    for column in shown.columns:
        column.no_wrap = column.header not in ("method", "air", "claim")
    for record in rows.to_dict("records"):
        row = {str(name): value for name, value in record.items()}
        shown.add_row(*(show(row) for _, show in columns))
    return shown


def conditions_note(results: pd.DataFrame, summary: pd.DataFrame, layout: TableLayout) -> str:
    """A note that explains the columns of :func:`conditions_table`."""
    return "; ".join(
        [
            *(starred_note(summary), *budgets_notes(layout)),
            "channel uses and airtime of a question",
            f"majority answer per template {results['majority_accuracy'].mean():.3f}",
        ]
    )


def budgets_notes(layout: TableLayout) -> list[str]:
    """A note that says whose token lengths ``16+16`` are; none if no method has any."""
    return [f"{'+'.join(layout.swept_devices)} tokens"] if layout.swept_devices else []


def infeasible_notes(reasons: Iterable[str], cells: int) -> list[Text]:
    """A note for each reason: how many of all cells are infeasible for it.

    Args:
        reasons: The reason of each infeasible cell.
        cells: Number of all cells.
    """
    return [
        Text(f"{count} of {cells} cells {'is' if count == 1 else 'are'} infeasible: {reason}")
        for reason, count in Counter(reasons).items()
    ]


def reasons_note(rows: pd.DataFrame, layout: TableLayout) -> Text:
    """``LABEL on AIR: reason`` of rows, each once, only the first of many; no air of references."""
    named = rows["method"].where(
        rows["method"].isin(layout.reference_methods), rows["method"] + " on " + rows["air"]
    )
    told = sorted(set(named + ": " + rows["reason"]))
    more = f"; and {len(told) - _SHOWN} more, see 'reason'" if len(told) > _SHOWN else ""
    return Text("; ".join(told[:_SHOWN]) + more)


def starred_note(rows: pd.DataFrame) -> str:
    """A note that explains intervals, of which some may have stars."""
    return interval_note(rows, "where marked *")


def accuracy_text(row: Row, mixed: bool) -> str:
    """``.545 [.512, .577]``; with a star if only clips vary in it, but not in all (``mixed``)."""
    if math.isnan(row["accuracy_low"]):
        return _share(row["accuracy"])
    low, high = _share(row["accuracy_low"]), _share(row["accuracy_high"])
    return f"{_share(row['accuracy'])} [{low}, {high}]{_star(row, mixed)}"


def _star(row: Row, mixed: bool) -> str:
    return "*" if mixed and row["interval"] == "clips" else ""


def _difference_text(row: Row, mixed: bool) -> str:
    """``+.015 [+.002, +.028]``; with a star as :func:`accuracy_text`."""
    if math.isnan(row["difference_low"]):
        return _signed(row["difference"])
    low, high = _signed(row["difference_low"]), _signed(row["difference_high"])
    return f"{_signed(row['difference'])} [{low}, {high}]{_star(row, mixed)}"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("0.", ".", 1)


def _p_text(value: float) -> str:
    return "-" if math.isnan(value) else _share(value) if value >= 0.001 else "<.001"


def _share(value: float) -> str:
    return f"{value:.3f}".removeprefix("0")


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:g}"
