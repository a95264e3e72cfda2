"""Seconds that a study of 20 cells takes besides its training, of which there is next to none.

    python benchmarks/study.py [inline] [ray]

Prints, for each engine, wall-clock seconds, CPU seconds of the machine meanwhile, and rows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import psutil
import yaml

ENGINES = ("inline", "ray")


def study_of(engine: str) -> dict[str, object]:
    """16 cells and 4 references, 12 steps of each phase, on 300 clips of MiniMUSIC."""
    return {
        "name": "overhead",
        "engine": engine,
        "data": {"minimusic": {"clips": 300}},
        "methods": ["aligned", "unaligned"],
        "airs": ["awgn", "rayleigh"],
        "tokens": [{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}],
        "seeds": [0, 1],
        "systems": {
            "mlms": {
                "alignment": {"steps": 12},
                "fine_tuning": {"steps": 12, "reference_steps": 12},
            }
        },
    }


def main() -> None:
    """Runs the study on each engine, or on those that are named."""
    for engine in sys.argv[1:] or ENGINES:
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "study.yaml", Path(folder) / "out"
            file.write_text(yaml.safe_dump(study_of(engine)))
            before, start = _cpu_s(), time.monotonic()
            command = [sys.executable, "-m", "studies.cli", "study", "run", str(file)]
            subprocess.run([*command, "--out", str(out)], check=True)
            wall_s, cpu_s = time.monotonic() - start, _cpu_s() - before
            rows = pd.read_parquet(out / "results")
        done = (rows["status"] == "ok").sum()
        print(f"engine {engine}: {wall_s:.0f} s, {cpu_s:.0f} s of CPU, {done} of {len(rows)} rows")


def _cpu_s() -> float:
    """CPU seconds of the whole machine, as Ray's processes are nobody's children when they end."""
    spent = psutil.cpu_times()
    return spent.user + spent.nice + spent.system  # Ray makes its processes nice


if __name__ == "__main__":
    main()
