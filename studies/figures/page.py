"""The report as one page that opens without a network: tables, claims and interactive charts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.io import to_html
from plotly.offline import get_plotlyjs

from ..plan.differences import preset_differences, without_defaults
from ..plan.study import Study
from ..plan.swept import SweptLink
from ..tables.columns import PACKET_BITS, TableLayout
from ..tables.filters import without_references
from ..tables.findings import Findings
from ..tables.frontier import pareto
from ..tables.service import SERVICE_NOTE, summarise_service
from ..tables.summary import interval_note
from .chart import Chart
from .interactive import Json, draw, legend
from .interactive_users import draw_users
from .users import Users

_PLOT = {"responsive": True, "displayModeBar": False}


class _Entry(NamedTuple):
    """An entry of a table: what is shown, and by what it is sorted."""

    text: str
    value: str


def render(findings: Findings, charts: Mapping[str, Chart], users: Mapping[str, Users]) -> str:
    """The page; all text from the study is escaped.

    Args:
        findings: What the study has found.
        charts: Charts by file name.
        users: Users of each emulated condition, by file name.
    """
    folder = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=folder, autoescape=True, undefined=StrictUndefined)
    environment.globals["zip"] = zip
    study, results, layout = findings.study, findings.results, findings.tables.layout
    return environment.get_template("page.html").render(
        study=study,
        changes="; ".join(preset_differences(study)),
        missing=findings.missing_note,
        plotly=Markup(get_plotlyjs()),
        set_up=_set_up(study, findings.summary, layout),
        claims=_table(_claims(findings.verdicts, layout)),
        conditions=_table(_results(findings.summary, layout)),
        fronts=_table(_fronts(findings)),
        service=_table(_service(results, layout)),
        service_note=SERVICE_NOTE,
        interval=interval_note(findings.summary),
        references=_references_note(layout),
        charts=[_chart(name, chart) for name, chart in charts.items() if chart.panels],
        emulated=[
            {"title": condition.heading, "file": name, "plots": _plots(name, draw_users(condition))}
            for name, condition in users.items()
        ],
        reasons={
            "Diverged trainings": _table(_diverged(findings)),
            "Infeasible budgets": _table(_reasons(_of_status(results, "infeasible"), layout)),
            "Failed cells": _table(_reasons(_of_status(results, "failed"), layout)),
        },
        yaml=_yaml(without_defaults(study)),
        whole_yaml=_yaml(study.model_dump(mode="json")),
        versions=_versions(results),
    )


def _set_up(study: Study, summary: pd.DataFrame, layout: TableLayout) -> list[tuple[str, str]]:
    """The axes of the study, in words."""
    snrs = [f"{snr:g}" if isinstance(snr, float) else str(snr) for snr in study.train_snr_db]
    tested = [f"{snr:g}" for snr in study.eval_snr_db]
    made = study.data.made
    swept = [name for name in layout.swept_devices if name in study.tokens[0]]
    budgets = ["+".join(str(tokens[name]) for name in swept) or "-" for tokens in study.tokens]
    rows = {
        "task": study.task.name,
        "data": made.identity if made else str(study.data.folder),
        "methods": ", ".join(method.label for method in study.methods),
        "airs": ", ".join(air.label for air in study.airs),
        "trained at (dB)": _snrs(study, snrs),
        "evaluated at (dB)": _snrs(study, tested),
        "bandwidth (MHz)": ", ".join(f"{hz / 1e6:g}" for hz in study.bandwidth_hz),
        f"tokens ({'+'.join(swept) or '-'})": ", ".join(budgets),
        **_radio(study),
        **_emulation(study),
        **_several("bits of a value", study.digital.bits),
        "seeds": ", ".join(str(seed) for seed in study.seeds),
    }
    if len(summary):
        questions = f"{summary['questions'].max():,.0f}"
        rows["test questions of a condition, all seeds"] = questions
    return list(rows.items())


def _snrs(study: Study, values: Sequence[str]) -> str:
    """Average SNRs of the airs that take one; others have those of their link budgets."""
    budgets = [air.label for air in study.airs if not air.sets_snr]
    texts = [", ".join(values)] if len(budgets) < len(study.airs) else []
    return "; ".join([*texts, *(f"{label}: by its link budget" for label in budgets)])


def _emulation(study: Study) -> dict[str, str]:
    """Users of an emulation, what they ask, who is served first, and faults."""
    emulate = study.emulate
    if emulate is None:
        return {}
    faults = emulate.faults.model_dump(exclude_defaults=True)
    return {
        "users": ", ".join(map(str, emulate.users)),
        "questions per second of a user": f"{emulate.questions_per_s:g}",
        "duration (s)": f"{emulate.duration_s:g}",
        "scheduler": f"{emulate.scheduler}, users at once: {emulate.users_at_once}",
        "faults": ", ".join(f"{name} {value:g}" for name, value in faults.items()) or "none",
    }


def _radio(study: Study) -> dict[str, str]:
    """Deadline, access, power and computing, where they are not a study's defaults."""
    link, usual = study.link, SweptLink()
    deadlines = ", ".join("none" if ms is None else f"{ms:g}" for ms in study.deadline_ms)
    speeds = {name.partition("_")[0]: speed for name, speed in study.compute if speed is not None}
    rows = {}
    if any(study.deadline_ms):
        rows["deadline (ms)"] = f"{deadlines} ({study.deadline_policy})"
    if (link.access, link.antennas) != (usual.access, usual.antennas):
        rows["access"] = f"{link.access}, antennas: {link.antennas}"
    if link.tx_power_dbm != usual.tx_power_dbm:
        rows["transmit power (dBm)"] = ", ".join(f"{dbm:g}" for dbm in link.tx_power_dbm)
    if study.power_mode == "fixed_power":
        rows["power"] = f"fixed, SNRs are those at {study.reference_bandwidth_hz / 1e6:g} MHz"
    if speeds:
        rows["computing (GFLOP/s)"] = ", ".join(f"{n} {speed:g}" for n, speed in speeds.items())
    return rows


def _several(name: str, values: Sequence[int]) -> dict[str, str]:
    """The values of an axis of a study; empty if there is only one."""
    return {name: ", ".join(map(str, values))} if len(values) > 1 else {}


def _conditions(rows: pd.DataFrame, layout: TableLayout) -> list[str]:
    """The columns in which these rows differ, of those that identify a condition."""
    return [n for n in layout.condition if rows[n].nunique(dropna=n == PACKET_BITS) > 1]


def _results(summary: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """The summary without the columns in which no conditions of methods differ."""
    varied = {"method", *_conditions(without_references(summary, layout), layout)}
    same = {name for name in layout.condition if name not in varied}
    if summary["latency_ms"].equals(summary["airtime_ms"]):
        same.add("latency_ms")
    if summary["deadline_ms"].isna().all():
        same.add("meets_deadline")
    references = {reference.column for reference in layout.references}  # in rows of their own
    return summary.drop(columns=[*same, *references, *_interval_column(summary)])


def _service(results: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """How the users of an emulation were served, without columns in which no conditions differ."""
    service = summarise_service(results, layout)
    varied = {"method", "air", *_conditions(service, layout)}
    return service.drop(columns=[name for name in layout.condition if name not in varied])


def _fronts(findings: Findings) -> pd.DataFrame:
    """What each airtime buys: the Pareto front of every channel, accuracy by airtime.

    It has no rows if only references have finished. The deadline is a column only if token lengths
    are fitted to it: otherwise it changes no accuracy.
    """
    layout = findings.tables.layout
    methods = without_references(findings.summary, layout)
    if methods.empty:
        return methods
    named = {"method", "bandwidth_hz", "deadline_ms", PACKET_BITS, *layout.budget_columns}
    differ = _conditions(methods, layout)
    channel = list(dict.fromkeys(["air", *(name for name in differ if name not in named)]))
    tokens = [name for name in layout.budget_columns if methods[name].any()]
    fits = findings.study.deadline_policy == "fit"
    budgets = ("bandwidth_hz", *(["deadline_ms"] if fits else []), PACKET_BITS)
    tokens += [name for name in budgets if name in differ]
    bought = ["accuracy", "accuracy_low", "accuracy_high", "uplink_channel_uses", "energy_mj"]
    fronts = [pareto(group, "airtime_ms") for _, group in methods.groupby(channel, dropna=False)]
    return pd.concat(fronts)[[*channel, "airtime_ms", "method", *tokens, *bought]]


def _claims(verdicts: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """Verdicts, without columns that are the same, or empty, in all rows that were tested."""
    if verdicts.empty:
        return verdicts
    effect = ["difference", "difference_low", "difference_high", "interval", "reason"]
    rows = verdicts.reindex(columns=list(dict.fromkeys([*verdicts, *layout.condition, *effect])))
    lengths = [f"{n}_second" for n in layout.budget_columns if f"{n}_second" in rows]
    differ = _conditions(rows[rows["verdict"] != "untested"], layout)
    shown = rows[["claim", "source", *differ, *lengths, "verdict", *effect]]
    shown = shown.drop(columns=_interval_column(rows))
    return shown.replace("", None).dropna(axis=1, how="all")


def _of_status(results: pd.DataFrame, status: str) -> pd.DataFrame:
    rows: pd.DataFrame = results[results["status"] == status]
    return rows


def _reasons(rows: pd.DataFrame, layout: TableLayout) -> pd.DataFrame:
    """What tells cells apart, and the reasons why they have no answers, or bad ones."""
    return rows[["cell", *layout.condition, "seed", "reason"]]


def _diverged(findings: Findings) -> pd.DataFrame:
    """The cells whose training has diverged, whatever they were evaluated at."""
    cells = findings.diverged.drop_duplicates("cell")
    return _reasons(cells, findings.tables.layout).drop(columns="eval_snr_db")


def _interval_column(rows: pd.DataFrame) -> list[str]:
    """The column that says what varies in an interval, if it is the same in all rows."""
    return ["interval"] if rows["interval"].nunique() == 1 else []


def _table(rows: pd.DataFrame) -> dict[str, Any] | None:
    """Names, texts and values to sort by; None without rows."""
    if rows.empty:
        return None
    shown = rows.dropna(axis=1, how="all")
    if "train_snr_span_db" in shown:  # none if trained at each SNR, or if a claim is untested
        spans_db = shown["train_snr_span_db"]
        tested = shown["verdict"] != "untested" if "verdict" in shown else True
        shown = shown.assign(train_snr_span_db=spans_db.mask(spans_db.isna() & tested, math.inf))
    numbers = [name for name in shown if pd.api.types.is_numeric_dtype(shown[name])]
    return {
        "names": list(shown.columns),
        "numbers": numbers,
        "rows": [
            [
                _number(str(name), value) if name in numbers else _text(value)
                for name, value in zip(shown, row, strict=True)
            ]
            for row in shown.astype(object).where(shown.notna(), None).itertuples(index=False)
        ],
    }


def _text(value: object) -> _Entry:
    text = "-" if value is None else str(value)
    return _Entry(text, text)


def _number(name: str, value: float | None) -> _Entry:
    if name == "train_snr_span_db" and value == math.inf:
        return _Entry("matched", "Infinity")
    if value is None or (value == 0 and name.startswith("tokens_")):  # no token length
        return _Entry("-", "-Infinity")
    if math.isinf(value):
        return _Entry("∞", "Infinity") if value > 0 else _Entry("-∞", "-Infinity")
    share = "accuracy" in name or "difference" in name
    text = f"{value:.3f}" if share else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return _Entry(text, repr(float(value)))


def _chart(name: str, chart: Chart) -> dict[str, Any]:
    return {
        "title": chart.title,
        "file": name,
        "note": chart.note,
        "legend": legend(chart),
        "plots": _plots(name, [draw(panel, chart) for panel in chart.panels]),
    }


def _plots(name: str, figures: Sequence[Json]) -> list[Markup]:
    return [
        Markup(
            to_html(
                figure,
                full_html=False,
                include_plotlyjs=False,
                config=_PLOT,
                div_id=f"{name}-{number}",
                validate=False,
            )
        )
        for number, figure in enumerate(figures)
    ]


def _references_note(layout: TableLayout) -> str:
    named = ", ".join(f"{r.label} ({r.bound})" for r in layout.references)
    return f"Read every method between its references: {named}." if named else ""


def _yaml(keys: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(keys), sort_keys=False, allow_unicode=True).strip()


def _versions(results: pd.DataFrame) -> str:
    """Versions of packages, and hardware, for each set of them that cells were run with.

    Cells that were not run have no hardware in their set, which is left out if another one has all
    of it.
    """
    sets = [json.loads(versions) for versions in results["versions"].dropna().unique()]
    whole = [own for own in sets if not any(own.items() < other.items() for other in sets)]
    return "; ".join(", ".join(f"{name} {v}" for name, v in own.items()) for own in whole)
