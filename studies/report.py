"""Pictures and a page drawn from the results table."""

from __future__ import annotations

import base64
import html
import math
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student_t

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
_COLOURS = {"aligned": "#0b6e4f", "reconstruction": "#c77700", "unaligned": "#8c2d5d"}
_STYLES = ("-", "--", ":", "-.")
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
        "accuracy_by_snr.png": _accuracy_figure(done, "eval_snr_db", "evaluation SNR (dB)"),
        "accuracy_by_overhead.png": _accuracy_figure(
            done, "uplink_channel_uses", "uplink channel uses per question"
        ),
        "learning_curves.png": _curves_figure(folder),
    }
    written = []
    for name, figure in pictures.items():
        figure.savefig(folder.report / name, dpi=130)
        written.append(folder.report / name)
    page = folder.report / "report.html"
    page.write_text(_page(table, written), encoding="utf-8")
    return [*written, page]


def _accuracy_figure(done: pd.DataFrame, x: str, label: str) -> Figure:
    """A panel per air: methods by colour, the other condition by line style, seeds as dots."""
    methods = done[~done["method"].isin(FLOORS)]
    airs = list(methods["air"].unique()) or ["-"]
    figure = Figure(figsize=(1.2 + 4.2 * len(airs), 4.4), layout="constrained")
    panels = figure.subplots(1, len(airs), sharey=True, squeeze=False)[0]
    for panel, air in zip(panels, airs, strict=True):
        _draw_panel(panel, methods[methods["air"] == air], x)
        _draw_floors(panel, done)
        panel.set(title=str(air), xlabel=label)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set(ylabel="test accuracy (exact answer)", ylim=(0, 1))
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def _draw_panel(panel: Axes, rows: pd.DataFrame, x: str) -> None:
    by_snr = x == "eval_snr_db"
    line_of = ["tokens_audio", "tokens_vision"] if by_snr else ["eval_snr_db"]
    styles = {
        key: _STYLES[i % len(_STYLES)]
        for i, key in enumerate(sorted(rows.groupby(line_of).groups, key=repr))
    }
    for (method, *line), group in rows.groupby(["method", *line_of]):
        name = f"{line[0]:g}+{line[1]:g} tokens" if by_snr else f"{line[0]:g} dB"
        key = tuple(line) if by_snr or (line[0],) in styles else line[0]
        colour = _COLOURS.get(str(method))
        mean = (
            group.groupby(["tokens_audio", "tokens_vision", "eval_snr_db"])
            .agg({x: "mean", "accuracy": "mean"} if not by_snr else {"accuracy": "mean"})
            .reset_index()
            .sort_values(x)
        )
        panel.plot(mean[x], mean["accuracy"], styles[key], color=colour, label=f"{method}, {name}")
        panel.plot(group[x], group["accuracy"], ".", color=colour, alpha=0.6)


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
    files = sorted(folder.curves.glob("*.parquet"))
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
        index=False, escape=True, float_format="{:.4g}".format, border=0
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
img{{max-width:100%;display:block;margin:1rem 0}}table{{border-collapse:collapse;font-size:13px}}
td,th{{padding:.25rem .6rem;text-align:right;border-bottom:1px solid #ddd}}</style>
<h1>{title}</h1><p>Accuracy is exact answer match on test questions, mean over seeds; the interval
is Student's t over seeds (95 %). Read every method between the floors: blind and text oracle.</p>
{images}<h2>Conditions</h2>{summary}{failures}</html>"""
