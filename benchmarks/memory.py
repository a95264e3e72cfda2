"""Memory of a command and of every process it starts, over time::

    python benchmarks/memory.py tokcom emulate --users 3000 --air umi --duration 30

Proportional set sizes: memory that processes share counts once, Ray's object store included.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import time

import psutil

EVERY_S = 5.0


def memory_mb(root: psutil.Process) -> tuple[int, float]:
    """Number of processes from ``root`` downwards, and their memory in megabytes."""
    processes, used = 0, 0.0
    for process in [root, *root.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            used += process.memory_full_info().pss / 1e6
            processes += 1
    return processes, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    command = parser.parse_args().command
    if not command:
        parser.error("give a command to watch, such as: tokcom emulate --users 3000")
    start = time.monotonic()
    print("| s | processes | MB |")
    print("|---|---|---|")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as watched:
        while watched.poll() is None:
            processes, used = memory_mb(psutil.Process(watched.pid))
            print(f"| {time.monotonic() - start:.0f} | {processes} | {used:.0f} |", flush=True)
            with contextlib.suppress(subprocess.TimeoutExpired):
                watched.wait(EVERY_S)
    raise SystemExit(watched.returncode)


if __name__ == "__main__":
    main()
