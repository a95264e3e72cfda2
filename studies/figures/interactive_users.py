"""Users of an emulation on a page, by plotly: who stands where, and what they were answered."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from .chart import NOISELESS
from .interactive import Json, heading, laid_out
from .users import Users

_SYMBOLS = {"all answers right": "circle", "some right": "circle-open", "none right": "x"}
_COLOR = "#0b6e4f"
_SAID = (
    "user %{customdata[0]}: %{hovertext}, %{customdata[1]:.2f} right of %{customdata[2]} questions"
)


def draw_users(users: Users) -> list[Json]:
    """A map where users have places, their accuracy by SINR, and the distribution of the SINR."""
    return [*([_map(users)] if users.placed else []), _accuracy(users), _distribution(users)]


def _map(users: Users) -> Json:
    low, high = np.quantile(users.places_db(users.table["sinr_db"]), [0.02, 0.98])
    scale = {"title": heading(text="SINR (dB)", side="right"), "thickness": 12, **_ticks(users)}
    people = [
        {
            "type": "scatter", "mode": "markers", "name": name,
            "x": list(rows["x_m"]), "y": list(rows["y_m"]),
            "marker": {
                "symbol": _SYMBOLS[name], "size": 7,
                "color": list(users.places_db(rows["sinr_db"])), "cmin": low, "cmax": high,
                "colorscale": "Viridis", "showscale": not number, "colorbar": scale,
            },
            "customdata": rows[["user", "accuracy", "questions"]].to_numpy().tolist(),
            "hovertext": _said(rows["sinr_db"]), "hovertemplate": _SAID,
        }
        for number, (name, rows) in enumerate(users.by_answers.items())
    ]  # fmt: skip
    station = [
        {
            "type": "scatter", "mode": "markers", "name": "base station", "x": [x_m], "y": [y_m],
            "marker": {"symbol": "triangle-up", "size": 12, "color": "#c1121f"},
        }
        for x_m, y_m in ([] if users.station_m is None else [users.station_m])
    ]  # fmt: skip
    layout = laid_out("places", "x (m)", "y (m)")
    layout |= {"showlegend": True, "legend": {"orientation": "h", "y": -0.25}}
    layout["yaxis"]["scaleanchor"] = "x"
    return {"data": [*people, *station], "layout": layout}


def _accuracy(users: Users) -> Json:
    bins = users.bins
    bars = {
        "type": "data",
        "symmetric": False,
        "array": list((bins["high"] - bins["accuracy"]).clip(lower=0)),
        "arrayminus": list((bins["accuracy"] - bins["low"]).clip(lower=0)),
    }
    points = {
        "type": "scatter", "mode": "markers", "name": "", "error_y": bars,
        "x": list(users.places_db(bins["sinr_db"])), "y": list(bins["accuracy"]),
        "marker": {"color": _COLOR, "size": 8},
        "hovertext": _said(bins["sinr_db"]), "hovertemplate": "%{hovertext}: %{y:.3f}",
    }  # fmt: skip
    layout = laid_out("answers by SINR", "SINR (dB)", "accuracy")
    layout["yaxis"]["range"] = [0, 1]
    layout["xaxis"] |= _ticks(users)
    return {"data": [points], "layout": layout}


def _distribution(users: Users) -> Json:
    line = {
        "type": "scatter", "mode": "lines", "name": "", "line": {"color": _COLOR},
        "x": list(users.places_db(users.table["sinr_db"])), "y": list(users.shares),
        "hovertext": _said(users.table["sinr_db"]), "hovertemplate": "%{y:.2f} below %{hovertext}",
    }  # fmt: skip
    layout = laid_out("users by SINR", "SINR (dB)", "fraction of users below")
    layout["xaxis"] |= _ticks(users)
    return {"data": [line], "layout": layout}


def _ticks(users: Users) -> Json:
    """Ticks of an axis or a scale of SINRs; plotly's own where all are numbers."""
    ticks = users.ticks
    return {"tickvals": list(ticks), "ticktext": list(ticks.values())} if ticks else {}


def _said(sinrs_db: pd.Series[float]) -> list[str]:
    return [f"{NOISELESS if math.isinf(db) else f'{db:.1f}'} dB" for db in sinrs_db]
