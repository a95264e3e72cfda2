"""Rounds of many devices that exchange 100 kB each way, beside bare Ray moving the same bytes.

In each round, every device's symbols go to the base station, and a gradient of the same size comes
back. There are two processes of devices and one base station. Rounds alternate with those of bare
Ray, which likewise makes one call for all devices of a process::

    python benchmarks/actors.py [--devices 100 1000 10000] [--others FILE.json ...]

``--others`` adds what ``benchmarks/others/flower.sh`` measured of Flower. 10,000 devices move 1 GB
each way. The object store is in memory from the start: otherwise, the first access to fresh pages
would take several times as long as a round.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

sys.path.remove(str(Path(__file__).parent))  # this file would hide the package of its name

from actors import ActorSpec, Gradient, RayEngine
from actors.emulation.pool import FrameBatch
from channel_models import Frame, Members

PROCESSES = 2
SYMBOLS = 12_500
"""Symbols of a device: 100,000 bytes as complex64."""
STORE_BYTES = 4_000_000_000
WARM_UP = 5


class EchoPool:
    """A pool's messages without its arithmetic."""

    def __init__(self, devices: int) -> None:
        self._frame = Frame(
            "d",
            "vision",
            torch.randn(devices, SYMBOLS, dtype=torch.complex64),
            torch.ones(devices, 1, dtype=torch.bool).expand(devices, SYMBOLS),
            torch.ones(devices),
            members=Members(
                torch.arange(devices), torch.zeros(devices).long(), torch.zeros(devices)
            ),
        )

    def transmit(self) -> FrameBatch:
        return FrameBatch(torch.arange(len(self._frame.symbols)), (self._frame,))

    def learn(self, gradient: Gradient) -> int:
        assert gradient.symbols is not None
        return len(gradient.symbols)


class EchoStation:
    """Sends every frame back as a gradient."""

    def echo(self, *frame_batches: FrameBatch) -> tuple[Gradient, ...]:
        frames = [frame for batch in frame_batches for frame in batch.frames]
        return tuple(Gradient(f.stream, f.symbols, f.scale) for f in frames)


def ours(devices: int) -> Callable[[], None]:
    engine = RayEngine()
    pool = ActorSpec("devices", EchoPool, (devices // PROCESSES,))
    station, *pools = engine.spawn([ActorSpec("station", EchoStation, ()), *[pool] * PROCESSES])

    def round_() -> None:
        frame_batches = [ref for pool in pools for ref in pool.call("transmit")]
        gradients = station.call("echo", *frame_batches, returns=len(frame_batches))
        learnt = [t for p, g in zip(pools, gradients, strict=True) for t in p.call("learn", g)]
        assert sum(engine.get(learnt)) == devices

    return round_


class BareWorker:
    def __init__(self, devices: int) -> None:
        self._symbols = np.random.default_rng(0).normal(size=(devices, 2 * SYMBOLS))
        self._symbols = self._symbols.astype(np.float32)

    def send(self) -> Any:
        return self._symbols

    def take(self, symbols: Any) -> int:
        return len(symbols)


class BareStation:
    def echo(self, *symbols: Any) -> tuple[Any, ...]:
        return symbols


def bare_ray(devices: int) -> Callable[[], None]:
    workers = [
        ray.remote(BareWorker).options(num_cpus=0).remote(devices // PROCESSES)
        for _ in range(PROCESSES)
    ]
    station = ray.remote(BareStation).options(num_cpus=0).remote()

    def round_() -> None:
        sent = [worker.send.remote() for worker in workers]
        back = station.echo.options(num_returns=len(sent)).remote(*sent)
        taken = [w.take.remote(b) for w, b in zip(workers, back, strict=True)]
        assert sum(ray.get(taken)) == devices

    return round_


def time_rounds(devices: int, repeats: int) -> dict[str, float]:
    """Seconds per round of each contender: the median of ``repeats`` rounds, which alternate."""
    contenders = {"tokcom": ours(devices), "bare Ray": bare_ray(devices)}
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(WARM_UP + repeats):
        for name, round_ in contenders.items():
            start = time.perf_counter()
            round_()
            if repeat >= WARM_UP:
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--devices", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    print("| devices | s per round | messages/s | of bare Ray's round |")
    print("|---|---|---|---|")
    for devices in options.devices:
        ray.init(
            "local",
            num_cpus=PROCESSES,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            _system_config={"preallocate_plasma_memory": True},
        )
        took = time_rounds(devices, options.repeats)
        ray.shutdown()
        mine = took["tokcom"]
        ratio = mine / took["bare Ray"]
        print(f"| {devices} | {mine:.4f} | {devices / mine:.0f} | {ratio:.2f} |", flush=True)
    for file in options.others:
        for name, row in json.loads(file.read_text()).items():
            print(f"| {row['devices']}, {name} | {row['s']:.3f} | {row['per_s']:.0f} | |")


if __name__ == "__main__":
    main()
