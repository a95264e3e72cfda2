"""Complex symbols per second of each air, beside bare torch and Sionna's own blocks.

One thread, batch 32. Everything is measured in one run that alternates between contenders, and only
the ratios between them count::

    python benchmarks/air.py [--repeats 15] [--others FILE.json ...]

``--others`` adds what ``benchmarks/others/run.sh`` measured of other libraries in environments of
their own. A transmission of 12 OFDM symbols with data on 1020 subcarriers has 12,240 symbols.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from sionna.phy.channel import AWGN, FlatFadingChannel, OFDMChannel, gen_single_sector_topology
from sionna.phy.channel.tr38901 import CDL, TDL, UMi
from sionna.phy.ofdm import ResourceGrid
from torch import Tensor

from channel_models import Frame, Link, named_air
from channel_models.sources.profiles import linear_array

BATCH = 32
SUBCARRIERS = 1020
ROWS = 12
COUNT = ROWS * SUBCARRIERS
BURST = 5
SNR_DB = 10.0
LINK = Link(bandwidth_hz=SUBCARRIERS * 30e3)

Step = Callable[[Tensor], Tensor]


def ours(name: str, **settings: object) -> Step:
    """A whole air: fading, noise, equalisation, overhead."""
    air = named_air(name, **settings).build(LINK, SNR_DB)
    valid = torch.ones(BATCH, COUNT, dtype=torch.bool)
    scale = torch.ones(BATCH)

    def step(symbols: Tensor) -> Tensor:
        (got,) = air.transmit([Frame("a", "d", symbols, valid, scale)], 1)
        return got.symbols

    return step


def bare(fading: bool) -> Step:
    """The minimum that the physics needs: draw noise, multiply by a gain, add."""

    def step(symbols: Tensor) -> Tensor:
        noise = torch.randn(symbols.shape, dtype=torch.complex64) * 0.3
        if fading:
            gain = torch.randn(len(symbols), 1, dtype=torch.complex64)
            return gain * symbols + noise
        return symbols + noise

    return step


def sionna_awgn() -> Step:
    awgn = AWGN(precision="single", device="cpu")
    n0 = torch.tensor(0.1)
    return lambda symbols: awgn(symbols, n0)


def sionna_flat() -> Step:
    """Sionna's flat-fading channel, which knows no blocks: every symbol has its own fading."""
    channel = FlatFadingChannel(1, 1, precision="single", device="cpu")
    n0 = torch.tensor(0.1)
    return lambda symbols: channel(symbols.reshape(-1, 1), n0).reshape(symbols.shape)


def sionna_ofdm(model: object) -> Step:
    """Sionna's generate-and-apply chain, with noise but without equalisation."""
    grid = ResourceGrid(ROWS, SUBCARRIERS, 30e3, precision="single", device="cpu")
    channel = OFDMChannel(model, grid, precision="single", device="cpu")
    n0 = torch.tensor(0.1)
    return lambda symbols: channel(symbols.reshape(BATCH, 1, 1, ROWS, SUBCARRIERS), n0).reshape(
        symbols.shape
    )


def _tdl(speed_mps: float) -> TDL:
    return TDL("A", 100e-9, 3.5e9, min_speed=speed_mps, precision="single", device="cpu")


def _cdl(speed_mps: float) -> CDL:
    one = linear_array(1, 3.5e9, "cpu")
    return CDL(
        "C", 100e-9, 3.5e9, one, one, "uplink", min_speed=speed_mps, max_speed=speed_mps,
        precision="single", device="cpu",
    )  # fmt: skip


def sionna_cell() -> Step:
    """Sionna's UMi, with the user at another place of the sector in every sample."""
    one = linear_array(1, 3.5e9, "cpu")
    model = UMi(3.5e9, "low", one, one, "uplink", precision="single", device="cpu")
    apply = sionna_ofdm(model)

    def step(symbols: Tensor) -> Tensor:
        places = gen_single_sector_topology(BATCH, 1, "umi", precision="single", device="cpu")
        model.reset_topology()
        model.set_topology(*places)
        return apply(symbols)

    return step


SUBJECTS: dict[str, dict[str, Callable[[], Step]]] = {
    "awgn": {
        "tokcom": lambda: ours("awgn"),
        "bare torch": lambda: bare(False),
        "sionna": sionna_awgn,
    },
    "rayleigh": {
        "tokcom": lambda: ours("rayleigh"),
        "bare torch": lambda: bare(True),
        "sionna": sionna_flat,
    },
    **{
        f"{name}, {how}": {
            "tokcom": partial(ours, name, speed_mps=speed_mps),
            "sionna": lambda model=model, speed_mps=speed_mps: sionna_ofdm(model(speed_mps)),
            "bare torch": lambda: bare(True),
        }
        for name, model in (("tdl-a", _tdl), ("cdl-c", _cdl))
        for how, speed_mps in (("still", 0.0), ("30 m/s", 30.0))
    },
    "umi": {
        "tokcom": lambda: ours("umi"),
        "sionna": sionna_cell,
        "bare torch": lambda: bare(True),
    },
}


def time_subject(
    makers: dict[str, Callable[[], Step]], repeats: int, backward: bool
) -> dict[str, float]:
    """Million symbols/s of each contender, in alternating bursts; median of ``repeats``."""
    steps = {name: make() for name, make in makers.items()}
    symbols = torch.randn(BATCH, COUNT, dtype=torch.complex64, requires_grad=backward)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(BURST):
                got = step(symbols)
                if backward:
                    got.abs().sum().backward()
            if repeat >= 2:
                taken[name].append(time.perf_counter() - start)
    return {name: BURST * BATCH * COUNT / statistics.median(t) / 1e6 for name, t in taken.items()}


def keep_freed_memory() -> None:
    """Makes glibc keep freed memory, so that no contender pays for another's page faults."""
    trim_threshold, mmap_threshold = -1, -3
    for threshold in (trim_threshold, mmap_threshold):
        getattr(ctypes.CDLL(None), "mallopt", lambda *_: None)(threshold, 1 << 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| air | direction | Msym/s | of bare torch | of Sionna |")
    print("|---|---|---|---|---|")
    for subject, makers in SUBJECTS.items():
        for backward in (False, True):
            rates = time_subject(makers, options.repeats, backward)
            mine = rates["tokcom"]
            to_sionna = f"{mine / rates['sionna']:.2f}" if "sionna" in rates else "-"
            way = "both" if backward else "forward"
            to_torch = f"{mine / rates['bare torch']:.2f}"
            print(f"| {subject} | {way} | {mine:.1f} | {to_torch} | {to_sionna} |", flush=True)
    for file in options.others:
        for subject, rate in json.loads(file.read_text()).items():
            print(f"| {subject} | forward | {rate:.2f} | | |")


if __name__ == "__main__":
    main()
