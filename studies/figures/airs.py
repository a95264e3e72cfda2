"""Figures of airs: physics checks, and the response of one air."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from channel_models import AirBase, Frame, Link, Request
from channel_models.checks import Check
from channel_models.numerology import Allocation
from channel_models.reception.response import frequency_response, subcarrier_hz
from channel_models.sources.source import draw

_SAMPLES = 400
_DRAWN = 6


def checks_figure(checks: Sequence[Check]) -> Figure:
    """A panel for each curve: theory as a line, measurements with their tolerance."""
    curves: dict[tuple[str, str], list[Check]] = {}
    for check in checks:
        if check.x_label:
            curves.setdefault((check.subject, check.quantity), []).append(check)
    columns = min(3, max(1, len(curves)))
    rows = max(1, math.ceil(len(curves) / columns))
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for panel, ((subject, quantity), points) in zip(panels, curves.items(), strict=False):
        x = [point.x for point in points]
        measured = [point.measured for point in points]
        panel.plot(x, [point.expected for point in points], color="0.45", label="theory")
        panel.errorbar(
            x, measured, [p.tolerance for p in points], fmt=".", color="#0b6e4f", label="measured"
        )
        if "error" in quantity or quantity == "power":
            panel.set_yscale("log", nonpositive="clip")
        panel.set(title=subject, xlabel=points[0].x_label, ylabel=quantity)
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in list(figure.axes)[len(curves) :]:
        panel.set_visible(False)
    if curves:
        figure.axes[0].legend(frameon=False)
    return figure


def air_figure(air: AirBase, link: Link, snr_db: float, seed: int) -> Figure:
    """Response over band and time, power by delay, and receive SNR with SINR after equalisation."""
    figure = Figure(figsize=(12.6, 3.6), layout="constrained")
    in_band, by_delay, levels = figure.subplots(1, 3)
    source = air.source(link, "cpu")
    if source is not None:
        band = Allocation(0, link.subcarriers)
        request = Request(_SAMPLES, 14, 1e3 / link.symbol_ms, link.subcarriers, seed, "device")
        channel = draw(source, request, link.antennas)
        frequencies = subcarrier_hz(link, band, torch.device("cpu"))
        response = frequency_response(channel, frequencies)[:_DRAWN, 0]
        gain_db = 20 * torch.log10(response.abs().clamp(min=1e-9))
        for sample in gain_db:
            in_band.plot(frequencies / 1e6, sample[0], linewidth=1)
            in_band.plot(frequencies / 1e6, sample[-1], linewidth=0.6, color="0.75", zorder=0)
        power = channel.gains.abs().square().mean((1, 3))
        delays_us = channel.delays_s.expand(power.shape) * 1e6
        by_delay.plot(
            delays_us.flatten(), 10 * torch.log10(power.clamp(min=1e-12)).flatten(), ".",
            markersize=1.5, alpha=0.4, color="#0b6e4f",
        )  # fmt: skip
        by_delay.set_ylim(bottom=float(10 * torch.log10(power.max())) - 50)
    in_band.set(title="response, first samples", xlabel="frequency (MHz)", ylabel="gain (dB)")
    by_delay.set(title="paths of all samples", xlabel="delay (µs)", ylabel="power (dB)")
    symbols = torch.ones(_SAMPLES, link.subcarriers, dtype=torch.complex64)
    valid, ones = torch.ones(symbols.shape, dtype=torch.bool), torch.ones(_SAMPLES)
    sent = Frame(
        "device", "d", symbols, valid, ones, transport="digital" if air.digital else "analog"
    )
    (got,) = air.build(link, snr_db).transmit([sent], seed)
    for values, name in ((got.realised_snr_db, "receive SNR"), (got.sinr_db, "after equalisation")):
        ordered = np.sort(values.numpy())
        levels.plot(ordered, np.linspace(0, 1, len(ordered)), label=name)
    levels.set(title="over samples", xlabel="dB", ylabel="fraction of samples below")
    levels.legend(frameon=False)
    for panel in (in_band, by_delay, levels):
        panel.grid(alpha=0.25)
        panel.spines[["top", "right"]].set_visible(False)
    return figure
