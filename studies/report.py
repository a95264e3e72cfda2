"""Pictures and a page drawn from the results table."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from scipy.stats import t as student_t

from .crowd_figure import crowd_figure
from .folder import StudyFolder
from .methods import FLOORS

CONDITION = [
    "method",
    "air",
    "bandwidth_hz",
    "train_snr_db",
    "tokens_audio",
    "tokens_vision",
    "eval_snr_db",
]
_COLOURS = {
    "aligned": "#0b6e4f",
    "reconstruction": "#c77700",
    "unaligned": "#8c2d5d",
    "digital": "#1f5fa8",
    "raw-upload": "#4d4d4d",
}
_STYLES = ("-", "--", ":", "-.")
_MARKERS = ("o", "^", "s", "D")
_SMOOTHING_STEPS = 15


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy over seeds of each condition.

    ``half_width`` is that of the 95 % Student t interval over seeds; NaN for one seed. With two
    seeds it is wide (12.7 standard errors): a claim needs more seeds, or the rows' own intervals.
    """
    done = table[table["status"] == "ok"]
    groups = done.groupby(CONDITION, dropna=False, sort=True)
    summary = groups.agg(
        seeds=("seed", "nunique"),
        accuracy=("accuracy", "mean"),
        deviation=("accuracy", "std"),
        blind_accuracy=("blind_accuracy", "mean"),
        text_oracle_accuracy=("text_oracle_accuracy", "mean"),
        uplink_channel_uses=("uplink_channel_uses", "mean"),
        airtime_ms=("airtime_ms", "mean"),
        energy_mj=("energy_mj", "mean"),
    ).reset_index()
    half = [
        _half_width(deviation, int(seeds))
        for deviation, seeds in zip(summary["deviation"], summary["seeds"], strict=True)
    ]
    summary.insert(list(summary.columns).index("accuracy") + 1, "half_width", half)
    return summary.drop(columns="deviation")


def _half_width(deviation: float, seeds: int) -> float:
    if seeds < 2:
        return math.nan
    return float(student_t.ppf(0.975, seeds - 1)) * deviation / math.sqrt(seeds)


def write_report(folder: StudyFolder, table: pd.DataFrame) -> list[Path]:
    """Draws the pictures and the page into ``report/``; returns their paths."""
    done = table[table["status"] == "ok"]
    if done.empty:
        return []
    folder.report.mkdir(parents=True, exist_ok=True)
    pictures = {
        "accuracy_by_snr.png": _accuracy_figure(done, "eval_snr_db", "SNR (dB)"),
        "accuracy_by_overhead.png": _accuracy_figure(
            done, "uplink_channel_uses", "uplink channel uses per question"
        ),
        "learning_curves.png": _curves_figure(folder),
    }
    for _, row in done[done["users"] > 1].iterrows():
        file = folder.store.fetch(folder.devices / f"{row['cell']}.parquet")
        devices = pd.read_parquet(file)
        own = devices[devices["eval_snr_db"].eq(row["eval_snr_db"]) | devices["eval_snr_db"].isna()]
        snr = "" if math.isnan(row["eval_snr_db"]) else f"_{row['eval_snr_db']:g}dB"
        pictures[f"users_{row['cell']}{snr}.png"] = crowd_figure(own, str(row["air"]))
    written = []
    for name, figure in pictures.items():
        figure.savefig(folder.report / name, dpi=130)
        written.append(folder.report / name)
    page = folder.report / "report.html"
    page.write_text(_page(table, written), encoding="utf-8")
    for file in (*written, page):
        folder.store.keep(file)
    return [*written, page]


def _accuracy_figure(done: pd.DataFrame, x: str, label: str) -> Figure:
    """A panel per air: methods by colour, the other condition by line style, seeds as dots."""
    methods = done[~done["method"].isin(FLOORS)]
    airs = list(methods["air"].unique()) or ["-"]
    columns = min(3, len(airs))
    height = 0.6 + 3.8 * math.ceil(len(airs) / columns)
    figure = Figure(figsize=(1.2 + 4.2 * columns, height), layout="constrained")
    grid = figure.subplots(math.ceil(len(airs) / columns), columns, sharey=True, squeeze=False)
    for panel, air in zip(grid.flat, airs, strict=False):
        _draw_panel(panel, methods[methods["air"] == air], x)
        _draw_floors(panel, done)
        panel.set(title=str(air), xlabel=label)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in grid.flat[len(airs) :]:
        panel.set_visible(False)
    for panel in grid[:, 0]:
        panel.set(ylabel="test accuracy (exact answer)", ylim=(0, 1))
    named = {
        name: handle
        for panel in grid.flat
        for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        named.values(), named, loc="outside lower center", ncols=3, frameon=False, fontsize=8
    )
    return figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, x: str) -> None:
    """Lines join the budgets or the SNRs of a method, whichever is not told by the line style."""
    by_snr = x == "eval_snr_db"
    rows = rows.assign(
        tokens=[
            f"{a:g}+{v:g} tokens"
            for a, v in zip(rows["tokens_audio"], rows["tokens_vision"], strict=True)
        ],
        snr=["link budget" if math.isnan(s) else f"{s:g} dB" for s in rows["eval_snr_db"]],
        x=rows[x].fillna(rows["realised_snr_db"]) if by_snr else rows[x],
    )
    line, point = ("tokens", "snr") if by_snr else ("snr", "tokens")
    lines = list(rows.sort_values(["tokens_audio", "tokens_vision", "eval_snr_db"])[line].unique())
    if not by_snr and (rows["x"] > 0).all() and rows["x"].max() > 20 * rows["x"].min():
        panel.set_xscale("log")
        panel.xaxis.set_minor_formatter(NullFormatter())
    for (method, name), group in rows.groupby(["method", line], sort=False):
        colour = _COLOURS.get(str(method))
        mean = group.groupby(point)[["x", "accuracy"]].mean().sort_values("x")
        which = lines.index(str(name)) % len(_STYLES)
        style, marker = _STYLES[which], _MARKERS[which]
        label = f"{method}, {name}"
        panel.plot(mean["x"], mean["accuracy"], style, color=colour)
        panel.plot(group["x"], group["accuracy"], marker, color=colour, alpha=0.6, markersize=4)
        panel.plot([], [], style, marker=marker, color=colour, markersize=4, label=label)


def _draw_floors(panel: Axes, done: pd.DataFrame) -> None:
    for column, name, style in (
        ("text_oracle_accuracy", "text oracle", (0, (1, 1))),
        ("blind_accuracy", "blind", (0, (4, 3))),
    ):
        level = done[column].mean()
        if not math.isnan(level):
            panel.axhline(level, color="0.45", linewidth=1, linestyle=style, label=name)


def _curves_figure(folder: StudyFolder) -> Figure:
    """Smoothed task loss by step, a line per cell; the floors left out."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    panel = figure.subplots()
    files = sorted(folder.store.fetch_all(folder.curves).glob("*.parquet"))
    curves = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    tuning = curves[(curves["stage"] == "fine-tuning") & ~curves["method"].isin(FLOORS)]
    named: set[str] = set()
    for (method, _), rows in tuning.groupby(["method", "cell"]):
        smooth = rows.sort_values("step").set_index("step")["task"]
        smooth = smooth.rolling(_SMOOTHING_STEPS, min_periods=1).mean()
        label = None if method in named else str(method)
        named.add(str(method))
        panel.plot(
            smooth.index,
            smooth,
            color=_COLOURS.get(str(method), "0.5"),
            alpha=0.6,
            linewidth=1,
            label=label,
        )
    panel.set_yscale("log")
    panel.set(xlabel="fine-tuning step", ylabel=f"task loss ({_SMOOTHING_STEPS}-step mean)")
    panel.grid(alpha=0.25)
    panel.legend(frameon=False)
    panel.spines[["top", "right"]].set_visible(False)
    return figure


def _page(table: pd.DataFrame, pictures: list[Path]) -> str:
    """A self-contained page; whatever comes from the study is escaped."""
    title = html.escape(f"Study {table['study'].iloc[0]}")
    images = "\n".join(
        f'<img alt="{html.escape(p.stem)}" src="data:image/png;base64,'
        f'{base64.b64encode(p.read_bytes()).decode()}">'
        for p in pictures
    )
    summary = summarise(table).to_html(
        index=False, escape=True, float_format="{:.4g}".format, na_rep="-", border=0
    )
    failed = table[table["status"] != "ok"]
    failures = (
        ""
        if failed.empty
        else "<h2>Failed cells</h2>"
        + failed[["cell", "method", "air", "seed", "reason"]].to_html(
            index=False, escape=True, border=0
        )
    )
    return f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:72rem;padding:0 1rem}}
div{{overflow-x:auto}}img{{max-width:100%;display:block;margin:1rem 0}}
table{{border-collapse:collapse;font-size:13px}}
td,th{{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}}</style>
<h1>{title}</h1><p>Accuracy is exact answer match on test questions, mean over seeds; the interval
is Student's t over seeds (95 %). Read every method between the floors: blind and text oracle.</p>
{images}<h2>Conditions</h2><div>{summary}</div>{failures}</html>"""
