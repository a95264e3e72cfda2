"""The report of a study: figures and a page drawn from its tables."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..tables.columns import TableLayout
from ..tables.files import Tables
from ..tables.summary import interval_note, summarise_part
from .accuracy import accuracy_by_overhead, accuracy_by_snr
from .emulation import users_figure
from .learning import learning_curves
from .panels import panel_titles


def write_report(tables: Tables, results: pd.DataFrame) -> list[Path]:
    """Writes the figures and the page into ``report/``; returns their paths."""
    folder, layout = tables.folder, tables.layout
    done = results[results["status"] == "ok"]
    if done.empty:
        return []
    folder.report.mkdir(parents=True, exist_ok=True)
    _, summary = summarise_part(tables, results)
    pictures = {
        "accuracy_by_snr.png": accuracy_by_snr(done, summary, layout),
        **_part_figures(tables, done),
        "accuracy_by_overhead.png": accuracy_by_overhead(done, summary, layout),
        "learning_curves.png": learning_curves(tables.read_curves(), layout),
        **_users_figures(tables, done),
    }
    written = []
    for name, figure in pictures.items():
        figure.savefig(folder.report / name, dpi=130)
        written.append(folder.report / name)
    page = folder.report / "report.html"
    page.write_text(_page(results, summary, written, layout), encoding="utf-8")
    for file in (*written, page):
        folder.store.keep(file)
    return [*written, page]


def _part_figures(tables: Tables, done: pd.DataFrame) -> dict[str, Figure]:
    """Accuracy by SNR for each part of a mixture of tasks, by file name."""
    figures, layout = {}, tables.layout
    for part in layout.parts:
        rows, summary = summarise_part(tables, done, part)
        if len(rows):
            figures[f"accuracy_by_snr_{part}.png"] = accuracy_by_snr(rows, summary, layout)
    return figures


def _users_figures(tables: Tables, done: pd.DataFrame) -> dict[str, Figure]:
    """The figure of each emulated condition, by file name."""
    emulated, layout = done[done["users"] > 1], tables.layout
    titles = panel_titles(emulated, layout)
    figures = {}
    for panel, (_, row) in zip(titles, emulated.iterrows(), strict=True):
        cell, snr_db = row["cell"], row["eval_snr_db"]
        devices, answers = (
            rows[rows["eval_snr_db"].eq(snr_db) | rows["eval_snr_db"].isna()]
            for rows in (tables.read_devices(cell), tables.read_answers(cell))
        )
        title = f"{row['method']}, {panel}, {layout.budget_text(row.to_dict())} tokens"
        snr = "" if math.isnan(snr_db) else f"_{snr_db:g}dB"
        figures[f"users_{cell}{snr}.png"] = users_figure(devices, answers, title)
    return figures


def _references_note(layout: TableLayout) -> str:
    named = ", ".join(f"{r.label} ({r.bound})" for r in layout.references)
    return f"Read every method between its references: {named}." if named else ""


def _page(
    results: pd.DataFrame, summary: pd.DataFrame, pictures: list[Path], layout: TableLayout
) -> str:
    """A self-contained page; all text from the study is escaped."""
    title = html.escape(f"Study {results['study'].iloc[0]}")
    images = "\n".join(
        f'<img alt="{html.escape(p.stem)}" src="data:image/png;base64,'
        f'{base64.b64encode(p.read_bytes()).decode()}">'
        for p in pictures
    )
    conditions = summary.to_html(
        index=False, escape=True, float_format="{:.4g}".format, na_rep="-", border=0
    )
    without = "".join(
        _without_answers(results[results["status"] == status], title, layout)
        for status, title in (("infeasible", "Infeasible budgets"), ("failed", "Failed cells"))
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}}
div{{overflow-x:auto}}img{{max-width:100%;display:block;margin:1rem 0}}
table{{border-collapse:collapse;font-size:13px}}
td,th{{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}}</style>
<h1>{title}</h1><p>Accuracy is the share of test questions answered rightly, all seeds together;
<code>accuracy_low</code> and <code>accuracy_high</code>: {interval_note(summary)}.
{_references_note(layout)}</p>
{images}<h2>Conditions</h2><div>{conditions}</div>{without}</html>"""


def _without_answers(rows: pd.DataFrame, title: str, layout: TableLayout) -> str:
    """A table of cells that have no answers, with the reasons; nothing if there are none."""
    if rows.empty:
        return ""
    reasons = rows[["cell", *layout.condition, "seed", "reason"]]
    return f"<h2>{title}</h2>" + reasons.to_html(index=False, escape=True, na_rep="-", border=0)
