"""Pictures and a page drawn from a study's tables."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from ..storage.folder import StudyFolder
from ..tables.columns import ANSWERS, CONDITION, CURVES, DEVICES
from ..tables.summary import count_answers, interval_note, summarise
from .emulation import crowd_figure
from .figures import accuracy_by_overhead, accuracy_by_snr, learning_curves, panel_titles


def write_report(folder: StudyFolder, table: pd.DataFrame) -> list[Path]:
    """Draws the pictures and the page into ``report/``; returns their paths."""
    done = table[table["status"] == "ok"]
    if done.empty:
        return []
    folder.report.mkdir(parents=True, exist_ok=True)
    summary = summarise(table, count_answers(folder, done["cell"].unique()))
    pictures = {
        "accuracy_by_snr.png": accuracy_by_snr(done, summary),
        "accuracy_by_overhead.png": accuracy_by_overhead(done, summary),
        "learning_curves.png": learning_curves(_read_curves(folder)),
        **_crowd_figures(folder, done),
    }
    written = []
    for name, figure in pictures.items():
        figure.savefig(folder.report / name, dpi=130)
        written.append(folder.report / name)
    page = folder.report / "report.html"
    page.write_text(_page(table, summary, written), encoding="utf-8")
    for file in (*written, page):
        folder.store.keep(file)
    return [*written, page]


def _read_curves(folder: StudyFolder) -> pd.DataFrame:
    files = sorted(folder.store.fetch_all(folder.curves).glob("*.parquet"))
    frame: pd.DataFrame = pa.concat_tables(
        [pq.read_table(file, schema=CURVES) for file in files]
    ).to_pandas()
    return frame


def _crowd_figures(folder: StudyFolder, done: pd.DataFrame) -> dict[str, Figure]:
    """By file name, the picture of each emulated condition."""
    emulated = done[done["users"] > 1]
    figures = {}
    for panel, (_, row) in zip(panel_titles(emulated), emulated.iterrows(), strict=True):
        name, snr_db = f"{row['cell']}.parquet", row["eval_snr_db"]
        devices, answers = (
            _of_snr(folder, table / name, schema, snr_db)
            for table, schema in ((folder.devices, DEVICES), (folder.answers, ANSWERS))
        )
        tokens = f"{row['tokens_audio']:g}+{row['tokens_vision']:g} tokens"
        title = f"{row['method']}, {panel}, {tokens}"
        snr = "" if math.isnan(snr_db) else f"_{snr_db:g}dB"
        figures[f"users_{row['cell']}{snr}.png"] = crowd_figure(devices, answers, title)
    return figures


def _of_snr(folder: StudyFolder, file: Path, schema: pa.Schema, snr_db: float) -> pd.DataFrame:
    """The rows of one evaluated condition; none where a cell is older than the table."""
    file = folder.store.fetch(file)
    table = pq.read_table(file, schema=schema) if file.exists() else schema.empty_table()
    rows: pd.DataFrame = table.to_pandas()
    return rows[rows["eval_snr_db"].eq(snr_db) | rows["eval_snr_db"].isna()]


def _page(table: pd.DataFrame, summary: pd.DataFrame, pictures: list[Path]) -> str:
    """A self-contained page; whatever comes from the study is escaped."""
    title = html.escape(f"Study {table['study'].iloc[0]}")
    images = "\n".join(
        f'<img alt="{html.escape(p.stem)}" src="data:image/png;base64,'
        f'{base64.b64encode(p.read_bytes()).decode()}">'
        for p in pictures
    )
    conditions = summary.to_html(
        index=False, escape=True, float_format="{:.4g}".format, na_rep="-", border=0
    )
    failed = table[table["status"] != "ok"]
    failures = (
        ""
        if failed.empty
        else "<h2>Failed cells</h2>"
        + failed[["cell", *CONDITION, "seed", "reason"]].to_html(
            index=False, escape=True, na_rep="-", border=0
        )
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}}
div{{overflow-x:auto}}img{{max-width:100%;display:block;margin:1rem 0}}
table{{border-collapse:collapse;font-size:13px}}
td,th{{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}}</style>
<h1>{title}</h1><p>Accuracy is the share of test questions answered rightly, all seeds together;
<code>accuracy_low</code> and <code>accuracy_high</code>: {interval_note(summary)}.
Read every method between the floors: blind and text oracle.</p>
{images}<h2>Conditions</h2><div>{conditions}</div>{failures}</html>"""
