"""Colors, lines, markers and words of all figures."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..tables.columns import PACKET_BITS, TableLayout
from ..tables.summary import swept

COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7"),
    *("#56b4e9", "#e69f00", "#000000", "#7f5539"),
)
"""Okabe and Ito's colors, which the color-blind can tell apart ('Color Universal Design', 2008),
with a brown in place of the yellow, which is hard to see on white."""
_LINES = ("-", "--", ":", "-.")
_MARKERS = ("o", "^", "s", "D", "v")
_SAID: dict[str, Callable[[Any], str]] = {
    "access": str,
    "bandwidth_hz": lambda hz: f"{hz / 1e6:g} MHz",
    "deadline_ms": lambda ms: f"deadline {ms:g} ms",
    "users": lambda users: f"{users:g} users" if users > 1 else "1 user",
}
_TRAINED = ["train_snr_db", "train_snr_span_db"]


@dataclass(frozen=True)
class Look:
    """Style of a line."""

    color: str
    line: str
    marker: str
    label: str


class Looks:
    """Styles of a figure's lines: a color for each method, a marker for each other value.

    If there are more methods than colors, the further ones have the same colors with other
    markers.

    Args:
        methods: All methods of the study, of which a figure may show some: each has the same color
            in all of its figures.
        names: Other values, such as token budgets; up to twenty of them look different.
    """

    def __init__(self, methods: Iterable[str], names: Iterable[str]) -> None:
        self._methods = sorted({str(method) for method in methods})
        self._names = list(dict.fromkeys(str(name) for name in names))

    def of(self, method: str, name: str) -> Look:
        """The style of the line of a method and, say, a token budget; ``-`` for none."""
        round_, color = divmod(self._methods.index(method), len(COLORS))
        number = self._names.index(name) + round_ * len(self._names)
        return Look(
            COLORS[color],
            _LINES[number % len(_LINES)],
            _MARKERS[number % len(_MARKERS)],
            method if name == "-" else f"{method}, {name}",
        )


def wrapped(text: str, letters: int) -> list[str]:
    """A text in lines of at most this many letters; names are not broken at a hyphen."""
    return textwrap.wrap(text, letters, break_on_hyphens=False) or [text]


def panel_titles(rows: pd.DataFrame, layout: TableLayout) -> pd.Series[str]:
    """Title of each row's panel: the air and all other swept values.

    Method, tokens, bits of a value, transmit power and evaluated SNR are not in the title: color,
    line and place show them.
    """
    titles, differ = rows["air"].fillna("-").astype(str), swept(rows, layout)
    for name in (name for name in differ if name in _SAID):
        texts = {value: f", {_SAID[name](value)}" for value in rows[name].dropna().unique()}
        titles = titles + rows[name].map(texts).fillna("")
    return titles if set(_TRAINED).isdisjoint(differ) else titles + ", " + _trained(rows)


def _trained(rows: pd.DataFrame) -> pd.Series[str]:
    """At which SNRs each row's network was trained."""
    snrs_db = rows[_TRAINED]
    texts = [
        "trained at each SNR"
        if pd.isna(span_db)
        else f"trained at {middle_db:g} \N{PLUS-MINUS SIGN} {span_db / 2:g} dB"
        if span_db
        else f"trained at {middle_db:g} dB"
        for middle_db, span_db in snrs_db.drop_duplicates().itertuples(index=False)
    ]
    number = snrs_db.groupby(_TRAINED, dropna=False, sort=False).ngroup()
    return number.map(dict(enumerate(texts)))


def budget_labels(rows: pd.DataFrame, layout: TableLayout) -> list[str]:
    """Label of each row's token budget; ``-`` for none."""
    if not layout.swept_devices:
        return ["-"] * len(rows)
    budgets = rows[list(layout.budget_columns)]
    texts = [layout.budget_text(row) for row in budgets.drop_duplicates().to_dict("records")]
    labels = [text if text == "-" else f"{text} tokens" for text in texts]
    number = budgets.groupby([*budgets], dropna=False, sort=False).ngroup()
    return [labels[i] for i in number]


def line_labels(names: Iterable[str], rows: pd.DataFrame, layout: TableLayout) -> list[str]:
    """Names of lines, ``-`` for none, with each row's bits of a value where these are swept."""
    if PACKET_BITS not in swept(rows, layout):
        return list(names)
    return with_values(names, rows[PACKET_BITS], "bits")


def with_values(names: Iterable[str], values: Iterable[float], unit: str) -> list[str]:
    """Names of lines, ``-`` for none, each with its value; NaN for none."""
    words = ["-" if pd.isna(value) else f"{value:g} {unit}" for value in values]
    pairs = zip(names, words, strict=True)
    return [", ".join(part for part in pair if part != "-") or "-" for pair in pairs]
