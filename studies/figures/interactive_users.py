"""Users of an emulation on a page, by plotly: who stands where, and what they were answered."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from .interactive import GRID, LAYOUT
from .users import Users

_SYMBOLS = {"all answers right": "circle", "some right": "circle-open", "none right": "x"}
_COLOUR = "#0b6e4f"
_SAID = (
    "user %{customdata[0]}: %{customdata[1]:.1f} dB, "
    "%{customdata[2]:.2f} right of %{customdata[3]} questions"
)


def draw_users(users: Users) -> list[go.Figure]:
    """A map where users have places, their accuracy by SINR, and the distribution of the SINR."""
    return [*([_map(users)] if users.placed else []), _accuracy(users), _distribution(users)]


def _map(users: Users) -> go.Figure:
    low, high = np.quantile(users.table["sinr_db"], [0.02, 0.98])
    figure = go.Figure()
    for name, rows in users.by_answers.items():
        marker = {
            "symbol": _SYMBOLS[name], "size": 7, "color": list(rows["sinr_db"]), "cmin": low,
            "cmax": high, "colorscale": "Viridis", "showscale": not figure.data,
            "colorbar": {"title": {"text": "SINR (dB)", "side": "right"}, "thickness": 12},
        }  # fmt: skip
        figure.add_scatter(
            x=list(rows["x_m"]), y=list(rows["y_m"]), mode="markers", name=name, marker=marker,
            customdata=rows[["user", "sinr_db", "accuracy", "questions"]].to_numpy(),
            hovertemplate=_SAID,
        )  # fmt: skip
    station = {"symbol": "triangle-up", "size": 12, "color": "#c1121f"}
    figure.add_scatter(x=[0], y=[0], mode="markers", name="base station", marker=station)
    figure = _laid_out(figure, "places", "x (m)", "y (m)")
    below = {"orientation": "h", "y": -0.25}
    return figure.update_layout(showlegend=True, legend=below).update_yaxes(scaleanchor="x")


def _accuracy(users: Users) -> go.Figure:
    bins = users.bins
    bars = {
        "symmetric": False,
        "array": list((bins["high"] - bins["accuracy"]).clip(lower=0)),
        "arrayminus": list((bins["accuracy"] - bins["low"]).clip(lower=0)),
    }
    figure = go.Figure().add_scatter(
        x=list(bins["sinr_db"]), y=list(bins["accuracy"]), error_y=bars, mode="markers",
        marker={"color": _COLOUR, "size": 8}, hovertemplate="%{x:.1f} dB: %{y:.3f}", name="",
    )  # fmt: skip
    figure = _laid_out(figure, "answers by SINR", "SINR (dB)", "accuracy")
    return figure.update_yaxes(range=[0, 1])


def _distribution(users: Users) -> go.Figure:
    figure = go.Figure().add_scatter(
        x=list(users.table["sinr_db"]), y=list(users.shares), mode="lines", name="",
        line={"color": _COLOUR}, hovertemplate="%{y:.2f} below %{x:.1f} dB",
    )  # fmt: skip
    return _laid_out(figure, "users by SINR", "SINR (dB)", "share below")


def _laid_out(figure: go.Figure, title: str, x_label: str, y_label: str) -> go.Figure:
    figure.update_xaxes(title_text=x_label, gridcolor=GRID)
    figure.update_yaxes(title_text=y_label, gridcolor=GRID)
    return figure.update_layout(title_text=title, **LAYOUT)
