"""What a study of thousands of tiny cells takes, what Ray Tune adds to its cells, and how well a
plan predicts a study's time::

    python benchmarks/studies.py many [--cells 2000] [--seed 0]
    python benchmarks/studies.py overhead [--cells 8] [--seconds 30]
    python benchmarks/studies.py prediction [--seeds 3]

``many`` runs a study by the command, kills the command and all its processes three times at random,
resumes it, and checks that every row is there once; then it times plan and report of that folder.
``overhead`` runs a study whose trainings only sleep, one at a time, once by Ray Tune and once in a
bare loop, and prints what Ray Tune adds, the start of Ray included. ``prediction`` runs a small
study of one seed, lets a plan predict from it the time of the same study with more seeds, and runs
that study, too.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

sys.path.remove(str(Path(__file__).parent))  # this file would hide the package of its name

from studies import load, run
from studies.cli.forecast_table import trials_at_once
from studies.execution.runner import SpecRunner
from studies.execution.splits import write_samples
from studies.plan.cells import Plan
from studies.plan.forecast import Forecast, specs_of
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.storage.usage import read_usages

TOY = Path(__file__).parent / "toy"
COMMAND = [sys.executable, "-m", "studies.cli", "study"]
KILLS = 3
GRID = {
    "airs": ["awgn", "rayleigh"],
    "train_snr_db": [0, 10],
    "eval_snr_db": [0, 10],
    "tokens": [{"sender": count} for count in (1, 2, 3, 4, 5, 6, 8, 10, 12, 16)],
}
PER_SEED = 40
"""Number of cells per seed."""
PREDICTED = "quickstart"
FEWER = (
    "data.minimusic.clips=600",
    "airs=awgn",
    "tokens=[{audio: 4, vision: 4}]",
    "evaluation.questions=300",
)
"""Settings that make the predicted study small."""


def study_file(folder: Path, keys: dict[str, Any], **settings: Any) -> Path:
    """The file of a study of the toy system."""
    method = {"system": "custom", "class": "letters:Letters", "label": "letters", **settings}
    study = {
        "name": "toy",
        "data": {"folder": str(TOY)},
        "task": {"name": "custom", "class": "letters:Guessing"},
        "methods": [method],
        **keys,
    }
    file = folder / "toy.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


def many(cells: int, seed: int) -> None:
    """Runs a study of so many cells, killed three times; checks its rows; plans and reports it."""
    keys = {**GRID, "seeds": list(range(max(1, cells // PER_SEED)))}
    with tempfile.TemporaryDirectory() as temporary:
        file, out = study_file(Path(temporary), keys), Path(temporary) / "out"
        expected = Plan(load(str(file))).known_cells({})
        draws = random.Random(seed)
        start = time.monotonic()
        for count in sorted(draws.sample(range(len(expected)), KILLS)):
            left = _run_until(count, ["run", str(file), "--out", str(out)], out)
            print(f"killed after {left} of {len(expected)} cells", flush=True)
        _command("resume", str(out))
        print(f"{len(expected)} cells, killed {KILLS} times: {time.monotonic() - start:.0f} s")
        rows = pd.read_parquet(out / "results")
        wanted = sorted((cell.key, snr_db) for cell in expected for snr_db in cell.eval_snr_db)
        found = sorted(zip(rows["cell"], rows["eval_snr_db"], strict=True))
        once = found == wanted and bool((rows["status"] == "ok").all())
        print(f"{len(rows)} rows, {'each once' if once else 'NOT each once'}")
        for arguments in (["plan", str(file), "--out", str(out)], ["report", str(out)]):
            start = time.monotonic()
            _command(*arguments)
            print(f"tokcom study {arguments[0]}: {time.monotonic() - start:.1f} s", flush=True)
        if not once:
            raise SystemExit(1)


def overhead(cells: int, seconds: float) -> None:
    """Compares Ray Tune with a bare loop over the same sleeping cells, one at a time."""
    keys = {"seeds": list(range(cells)), "resources": {"cpu": os.cpu_count()}}
    taken_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        study = load(str(study_file(Path(temporary), keys, steps=2, step_s=seconds / 2)))
        for name, runs in (("bare loop", bare_loop), ("Ray Tune", run)):
            start = time.monotonic()
            runs(study, Path(temporary) / name)
            taken_s[name] = time.monotonic() - start
            print(f"{name}: {taken_s[name]:.1f} s for {cells} cells of {seconds:g} s", flush=True)
    added_s = taken_s["Ray Tune"] - taken_s["bare loop"]
    print(
        f"Ray Tune adds {added_s:.1f} s, {added_s / taken_s['bare loop']:.1%}; "
        f"{1000 * added_s / cells:.0f} ms a cell"
    )


def prediction(seeds: int) -> None:
    """Compares the time of so many seeds with what a plan predicts from a study of one seed."""
    one, several = (
        load(PREDICTED, (*FEWER, f"seeds={list(range(count))}")) for count in (1, seeds)
    )
    with tempfile.TemporaryDirectory() as temporary:
        run(one, Path(temporary) / "one")
        out, plan = Path(temporary) / "several", Plan(several)
        specs = specs_of(plan, plan.known_cells({}))
        forecast = Forecast(plan, specs, read_usages(StudyFolder(out)))
        predicted_s = forecast.elapsed_s(trials_at_once(several))
        start = time.monotonic()
        run(several, out)
        taken_s = time.monotonic() - start
    print(
        f"{seeds} seeds by one: {predicted_s:.0f} s predicted, {taken_s:.0f} s taken with Ray's "
        f"start and the report, {taken_s / predicted_s:.2f} times as long"
    )


def bare_loop(study: Study, out: Path) -> None:
    """Runs the specs of a study one after the other, in this process and without Ray."""
    plan, folder = Plan(study), StudyFolder(out)
    folder.begin(study)
    write_samples(folder, study, plan.features())
    runner = SpecRunner(study, folder, plan.features())
    for spec in specs_of(plan, plan.known_cells({})):
        runner.run(spec)
    runner.close()


def _command(*arguments: str) -> None:
    subprocess.run([*COMMAND, *arguments], cwd=TOY, check=True, stdout=subprocess.DEVNULL)


def _run_until(count: int, arguments: list[str], out: Path) -> int:
    """Kills the command, with all its processes, once there are ``count`` cells; returns those."""
    with subprocess.Popen([*COMMAND, *arguments], cwd=TOY, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None and _finished(out) < count:
            time.sleep(0.1)
        if running.returncode:
            raise SystemExit(f"the study ended with {running.returncode} before it was killed")
        if running.returncode is None:
            command = psutil.Process(running.pid)
            processes = [command, *command.children(recursive=True)]
            for process in processes:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(processes[1:])
    return _finished(out)


def _finished(out: Path) -> int:
    return sum(file.suffix == ".parquet" for file in (out / "results").glob("cell-*"))


def main() -> None:
    """Runs one of the three measurements."""
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0])
    modes = parser.add_subparsers(dest="mode", required=True)
    one = modes.add_parser("many")
    one.add_argument("--cells", type=int, default=2000)
    one.add_argument("--seed", type=int, default=0)
    other = modes.add_parser("overhead")
    other.add_argument("--cells", type=int, default=8)
    other.add_argument("--seconds", type=float, default=30.0)
    third = modes.add_parser("prediction")
    third.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sys.path.insert(0, str(TOY))
    os.chdir(TOY)
    if given.mode == "many":
        many(given.cells, given.seed)
    elif given.mode == "overhead":
        overhead(given.cells, given.seconds)
    else:
        prediction(given.seeds)


if __name__ == "__main__":
    main()
