"""What a device costs: seconds to start and memory, by the number of devices.

Needs the folder of a finished ``tokcom emulate``. Each number of devices is measured in a process
of its own::

    python benchmarks/devices.py DIR [--devices 99 999 9999 99999]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT_S = 1200


def _resident_kb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def cost_of_devices(study: Path, devices: int) -> tuple[float, float]:
    """Seconds in which so many devices of a cell start, and kilobytes that they add.

    Three devices run before them: what is loaded once is not measured.
    """
    sys.path.remove(str(Path(__file__).parent))  # files here would hide the packages of their names
    from actors import Emulation, EmulationConfig
    from studies.execution.emulating import CellEmulator
    from studies.execution.finished import choose_learning_rates
    from studies.execution.networks import NetworkFactory
    from studies.plan.cells import Plan
    from studies.storage.folder import StudyFolder

    folder = StudyFolder(study)
    plan = Plan(folder.open())
    emulator = CellEmulator(NetworkFactory(plan.study, folder, plan.features()))
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    cell = next(cell for cell in cells if cell.emulate is not None)
    setup = emulator.setup(cell, cell.eval_air_snr_db[0])
    taken = (0.0, 0.0)
    for users in (1, devices // 3):
        config = EmulationConfig(users=users, duration_s=0.1, questions_per_s=300 / users, pools=2)
        before, start = _resident_kb(), time.perf_counter()
        with tempfile.TemporaryDirectory() as journal:
            emulation = Emulation(config, setup, Path(journal))
            seconds = time.perf_counter() - start
            emulation.run()
        taken = (seconds, _resident_kb() - before)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("study", type=Path, metavar="DIR")
    parser.add_argument("--devices", type=int, nargs="*", default=[99, 999, 9_999, 99_999])
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(*cost_of_devices(options.study, options.devices[0]))
        return
    print("| devices | s to start | MB more | kB a device |")
    print("|---|---|---|---|")
    for devices in options.devices:
        # -P: a file beside this one would hide the package 'actors'.
        command = [sys.executable, "-P", __file__, options.study, "--devices", str(devices)]
        done = subprocess.run(
            [*command, "--alone"], stdout=subprocess.PIPE, text=True, check=True, timeout=LIMIT_S
        )
        seconds, kilobytes = (float(value) for value in done.stdout.split()[-2:])
        row = f"{devices} | {seconds:.2f} | {kilobytes / 1024:.0f} | {kilobytes / devices:.2f}"
        print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
