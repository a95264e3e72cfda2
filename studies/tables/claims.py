"""Verdicts on a study's claims: shown, not shown or contradicted, with effect and interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from ..plan.claims import Claim
from ..plan.numbers import listed_text
from ..plan.study import Study
from ..plan.token_lengths import TokenLengths, with_lengths
from .columns import TableLayout
from .comparison import compare_methods
from .files import Tables
from .filters import finished
from .learning import compare_learning

_ONE_SIDE = "its two sides are the same; give than_tokens other lengths than tokens"

Verdict = Literal["shown", "not shown", "contradicted", "untested"]


def verdict(low: float, high: float, by: float = 0.0) -> Verdict:
    """What the 95 % interval of a difference says of the claim that it is above ``by``."""
    if low > by:
        return "shown"
    return "contradicted" if high < by else "not shown"


def judge(tables: Tables, results: pd.DataFrame, claims: Sequence[Claim]) -> pd.DataFrame:
    """The verdict on each claim in each condition.

    Args:
        tables: Tables of the study.
        results: Rows of ``results``.
        claims: Claims of the study.

    Returns:
        A row for each claim and condition: ``claim``, ``source``, ``verdict`` and the columns of
        :func:`studies.tables.comparison.compare_methods`, or of a claim about the training loss
        those of :func:`studies.tables.learning.compare_learning`. A claim that no finished cells
        allow to judge has a single row, ``untested``, with the ``reason``.
    """
    verdicts = [_judge(tables, results, claim) for claim in claims]
    return pd.concat(verdicts, ignore_index=True) if verdicts else pd.DataFrame()


def _judge(tables: Tables, results: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    named = {"claim": claim.text, "source": claim.source}
    try:
        if claim.of_one_side:
            raise ValueError(_ONE_SIDE)
        results = _at_snrs(results, claim, tables.layout)
        one = _at_lengths(tables, results, claim.better, claim.tokens)
        other = _at_lengths(tables, results, claim.than, claim.than_tokens)
        other = other.assign(**{f"tokens_{device}": 0.0 for device in claim.than_tokens})
        table = pd.concat([results, one, other], ignore_index=True)
        rows = _compare(tables, table, claim)
    except ValueError as error:
        return pd.DataFrame([{**named, "verdict": "untested", "reason": str(error)}])
    ends = zip(rows["difference_low"], rows["difference_high"], strict=True)
    verdicts = [verdict(low, high, claim.by) for low, high in ends]
    return rows.assign(**named, verdict=verdicts)


def _compare(tables: Tables, table: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    if claim.measure == "training_loss":
        return compare_learning(tables, table, claim.first, claim.second)
    return compare_methods(tables, table, claim.first, claim.second, claim.part)


def _at_snrs(results: pd.DataFrame, claim: Claim, layout: TableLayout) -> pd.DataFrame:
    """The rows at a claim's SNRs, and those of references and airs with a link budget."""
    if not claim.eval_snr_db:
        return results
    free = results["method"].isin(layout.reference_methods)
    rows = results[free | results["eval_snr_db"].isin([*claim.eval_snr_db, math.nan])]
    done, kept = finished(results), finished(rows)
    for name in (claim.better, claim.than):
        known = sorted(done.loc[done["method"] == name, "eval_snr_db"].unique())
        if known and not (kept["method"] == name).any():
            raise ValueError(
                f"no finished cell of the method {name!r} at {listed_text(claim.eval_snr_db)} dB; "
                f"there are some at {listed_text(known)} dB"
            )
    return rows


def _at_lengths(
    tables: Tables, results: pd.DataFrame, method: str, tokens: TokenLengths
) -> pd.DataFrame:
    """A method's rows at these token lengths, renamed to include them; none without lengths."""
    rows = results[results["method"] == method] if tokens else results[:0]
    for device, count in tokens.items():
        if device not in tables.layout.swept_devices:
            known = ", ".join(tables.layout.swept_devices)
            raise ValueError(f"no token length of a device {device!r}; there are: {known}")
        rows = rows[rows[f"tokens_{device}"] == count]
    return rows.assign(method=with_lengths(method, tokens))


def unjudged(study: Study, layout: TableLayout) -> list[str]:
    """Claims of a study that none of its cells can judge, each with the reason.

    Args:
        study: Study, before it runs.
        layout: Layout of its tables.
    """
    missing = [(claim, _missing(claim, study, layout)) for claim in study.claims]
    return [f"claim '{claim.text}': {reason}" for claim, reason in missing if reason]


def _missing(claim: Claim, study: Study, layout: TableLayout) -> str | None:
    """What a claim needs that a study does not have; None if nothing."""
    systems = {method.label: study.system(method) for method in study.methods}
    methods = [*systems, *layout.reference_methods]
    if unknown := [name for name in (claim.better, claim.than) if name not in methods]:
        return f"no method {unknown[0]!r}; there are: {', '.join(methods)}"
    if claim.of_one_side:
        return _ONE_SIDE
    if claim.measure == "training_loss" and not {claim.better, claim.than} <= systems.keys():
        return "the training loss of a reference is compared with no other"
    for name, own in ((claim.better, claim.tokens), (claim.than, claim.than_tokens)):
        known = systems[name].swept_devices(study.task) if name in systems else ()
        if other := [device for device in own if device not in known]:
            there = f"there are: {', '.join(known)}" if known else "it has none"
            return f"no token length of a device {other[0]!r} of {name!r}; {there}"
        asked = {**claim.tokens, **own}
        lengths = {device: count for device, count in asked.items() if device in known}
        if study.deadline_policy == "late" and not any(
            lengths.items() <= tokens.items() for tokens in study.tokens
        ):
            return f"no token lengths {lengths}; there are: {', '.join(map(str, study.tokens))}"
    if claim.part is not None and claim.part not in layout.kinds:
        return f"no part or group {claim.part!r}; there are: {', '.join(layout.kinds)}"
    budgeted = any(not air.sets_snr for air in study.airs)  # their rows are judged at any SNR
    if claim.eval_snr_db and not budgeted and not {*claim.eval_snr_db} & {*study.eval_snr_db}:
        return f"not evaluated at its SNRs; eval_snr_db is {listed_text(study.eval_snr_db)}"
    return None
