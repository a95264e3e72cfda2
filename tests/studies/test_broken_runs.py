"""Studies that are interrupted, fail in part, or find a disk full, and then go on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

import studies
from actors import Evaluation, Network, PeerLostError
from studies.execution.finished import choose_learning_rates, forget_failures
from studies.execution.graph import SpecGraph
from studies.execution.runner import SpecRunner
from studies.plan.cells import Plan
from studies.plan.specs import Cell, FeaturesSpec
from studies.plan.study import Study
from studies.storage.folder import StudyFolder

from ..conftest import Disk
from .conftest import LIMIT_S, tokcom
from .finished import METHODS, table_of
from .here import run_here
from .outcomes import finish
from .small import ours, small_keys, small_study

COMMAND = [sys.executable, "-m", "studies.cli", "study"]


def _forget(folder: StudyFolder, method: str, air: str) -> Cell:
    """Removes a cell's rows and its phases; the choice of its learning rate stays."""
    plan = Plan(folder.open())
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    (cell,) = (cell for cell in cells if (cell.method, cell.air_label) == (method, air))
    folder.result(cell.key).unlink()
    for spec in cell.trained.lineage:
        shutil.rmtree(folder.artifacts.path(spec))
    return cell


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> StudyFolder:
    """A finished study to be damaged."""
    return StudyFolder(shutil.copytree(finished, tmp_path / "copy"))


@pytest.mark.parametrize(
    ("how", "code", "engine"),
    [
        (signal.SIGKILL, -signal.SIGKILL, "inline"),
        pytest.param(signal.SIGINT, 130, "ray", marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_study_resumes_to_the_same_table_on_either_engine(
    finished: Path, copy: StudyFolder, how: signal.Signals, code: int, engine: str
) -> None:
    """A cell and its phases are made anew, with an interruption between them; all else stays."""
    file = copy.root / "study.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "engine": engine}))
    cell = _forget(copy, "aligned", "rayleigh")
    first = copy.artifacts.path(cell.trained.lineage[0])
    begun = subprocess.Popen(
        [*COMMAND, "resume", str(copy.root)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    deadline = time.monotonic() + LIMIT_S
    while not first.exists():
        assert begun.poll() is None, begun.communicate()[1].decode()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    if how is signal.SIGKILL:
        os.killpg(begun.pid, how)
    else:
        begun.send_signal(how)
    begun.communicate(timeout=LIMIT_S)
    assert begun.returncode == code
    assert not copy.result(cell.key).exists()
    resumed = tokcom("study", "resume", copy.root)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    pd.testing.assert_frame_equal(table_of(copy.root), table_of(finished))
    assert not list(copy.root.rglob(".*.partial"))


_HOLDER = """
import sys, time
from studies.storage.folder import StudyFolder
with StudyFolder(sys.argv[1]).alone():
    print("begun", flush=True)
    time.sleep(600)
"""


def test_one_run_at_a_time_works_in_a_folder(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Another would remove what the first one is writing. A killed one leaves the folder free."""
    study = small_study()
    folder = StudyFolder(tmp_path / "out")
    finish(study, folder, lambda cell, snr_db: 0.5)
    partial = folder.artifacts.root / ".net.1.partial"
    partial.touch()
    folder.tune.mkdir()
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(folder.root)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "begun\n"
    said = f"tokcom: another run is at work in {folder.root}; wait for it, or take another --out"
    try:
        for arguments in (["resume"], ["resume", "--retry-failed"]):
            assert refused("study", *arguments, folder.root) == said
        over = {"systems.mlms.fine_tuning.learning_rates": [0.001, 0.01]}
        with pytest.raises(ValueError, match="another run is at work"):
            studies.search(study, "aligned", over, folder.root)
        assert len(studies.read(folder.root))
        assert partial.exists() and folder.tune.exists()
    finally:
        holder.kill()
        holder.communicate(timeout=LIMIT_S)
    with folder.alone():
        pass


def test_a_run_that_begins_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "mine").touch()
    before = sorted(tmp_path.rglob("*"))
    for name in ("empty", "used", "new/below"):
        with pytest.raises(RuntimeError), StudyFolder(tmp_path / name).alone():
            raise RuntimeError("no cluster")
        assert sorted(tmp_path.rglob("*")) == before


_MLMS = small_keys(data={"minimusic": {"clips": 60, "seed": 3}}, methods=["aligned", "unaligned"])
_TAICHI = {
    "name": "small",
    "data": {"miniclevr": {"images": 60, "seed": 3}},
    "task": {"name": "multitask", "tasks": ["clevr", "sst2"]},
    "systems": {
        "taichi": {
            **{key: {"steps": 4} for key in ("pretraining", "tuning", "reference_training")},
            **{key: {"steps": 12} for key in ("codec_training", "coding_training")},
        }
    },
    "methods": ["taichi", "taichi-relay"],
    "train_snr_db": {"low": -6, "high": 18},
    "tokens": {"terminal": 36},
    "evaluation": {"questions": 24, "batch_size": 16},
}


@pytest.mark.slow
@pytest.mark.parametrize("keys", [_MLMS, _TAICHI], ids=["mlms", "taichi"])
def test_a_study_may_be_interrupted_at_any_moment(keys: dict[str, Any], tmp_path: Path) -> None:
    """Killed and stopped at ten random moments, data making included; nothing is lost or twice."""
    study = tmp_path / "s.yaml"
    study.write_text(yaml.safe_dump(keys))
    whole = tmp_path / "whole"
    assert tokcom("study", "run", study, "--out", whole).returncode == 0
    moments = random.Random(5)
    out = tmp_path / "out"
    for _ in range(10):
        how = moments.choice([signal.SIGKILL, signal.SIGINT])
        begun = subprocess.Popen(
            [*COMMAND, "run", str(study), "--out", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            begun.wait(timeout=moments.uniform(3.0, 30.0))
        except subprocess.TimeoutExpired:
            if how is signal.SIGKILL:
                os.killpg(begun.pid, how)
            else:
                begun.send_signal(how)
            begun.wait(timeout=LIMIT_S)
    done = tokcom("study", "run", study, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    pd.testing.assert_frame_equal(table_of(out), table_of(whole))
    assert not list((out / "artifacts").glob(".*.partial"))


@pytest.mark.parametrize("table", ["results", "answers", "curves"])
def test_a_damaged_table_is_named_and_can_be_made_again(
    finished: Path, copy: StudyFolder, table: str
) -> None:
    file = sorted((copy.root / table).glob("*.parquet"))[0]
    os.truncate(file, 100)
    done = tokcom("study", "report", copy.root)
    assert done.returncode == 2
    assert f"{file} is damaged" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    file.unlink()
    (copy.results / file.name).unlink(missing_ok=True)
    run_here(copy.open(), copy.root)
    pd.testing.assert_frame_equal(table_of(copy.root), table_of(finished))


def test_a_cell_that_fails_is_a_row_and_can_be_retried(finished: Path, copy: StudyFolder) -> None:
    """A reference, too: what is known of it stands in the rows of all others.

    A bandwidth that is too narrow makes rows as well, which are no failures, and stay.
    """
    study = yaml.safe_load(copy.config.read_text())
    grid = {**study, "bandwidth_hz": [4e5, *study["bandwidth_hz"]]}
    copy.config.write_text(yaml.safe_dump(grid))
    table = pd.read_parquet(copy.results)
    broken = table.loc[table["method"].isin(["unaligned", "blind"]), "cell"].unique()
    for cell in broken:
        copy.result(cell).unlink()
    weights = list(copy.artifacts.root.glob("fine-tuning-*/receivers.safetensors"))
    whole = {f: f.read_bytes() for f in weights}
    for file in weights:
        file.write_bytes(b"damaged")
    failed = tokcom("study", "resume", copy.root)
    assert failed.returncode == 1
    infeasible = "15 of 32 cells are infeasible: bandwidth_hz 400000 has 1 resource blocks"
    assert infeasible in failed.stdout
    rows = pd.read_parquet(copy.results)
    assert (rows["status"] == "infeasible").sum() == table["method"].isin(METHODS).sum()
    rows = rows[rows["status"] != "infeasible"]
    assert len(rows) == len(table)
    lost = rows["cell"].isin(broken)
    assert (rows.loc[lost, "status"] == "failed").all()
    told = rows.loc[lost, "reason"].str.extract(r"^(.*) is damaged \(.*\); remove it")[0]
    assert set(told) <= {str(file.parent) for file in weights}
    assert rows.loc[~lost, "blind_accuracy"].isna().all()
    assert rows.loc[rows["method"] == "aligned", "text_oracle_accuracy"].notna().all()
    for file, content in whole.items():
        file.write_bytes(content)
    assert forget_failures(copy.root) == len(broken)
    run_here(copy.open(), copy.root)
    found = table_of(copy.root)
    ran = found[found["status"] == "ok"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ran, table_of(finished), check_dtype=False)  # some were empty


@pytest.mark.slow  # test_trial.py has it without a study
def test_a_full_disk_stops_a_study_which_goes_on_when_there_is_room(
    finished: Path, disk: Disk
) -> None:
    """A fine-tuning and its cell are missing; all else stays, and nothing is a failed row."""
    size_kib = sum(f.stat().st_size // 1024 + 8 for f in finished.rglob("*"))
    out = shutil.copytree(finished, disk(size_kib + 2048) / "out")
    folder = StudyFolder(out)
    cell = _forget(folder, "unaligned", "awgn")
    filler = out.parent / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    os.truncate(filler, filler.stat().st_size - 64 * 1024)  # enough for Tune's own files
    stopped = tokcom("study", "resume", out)
    assert stopped.returncode == 1, stopped.stdout + stopped.stderr
    (line,) = stopped.stderr.strip().splitlines()
    assert line.startswith(f"tokcom: stopped: {out}")
    assert "No space left on device" in line and "; make room" in line
    assert line.endswith(f"tokcom study resume {out}")
    rows = pd.read_parquet(folder.results)
    assert set(rows["status"]) == {"ok"}
    assert cell.key not in set(rows["cell"])
    filler.unlink()
    resumed = tokcom("study", "resume", out)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    pd.testing.assert_frame_equal(table_of(out), table_of(finished))


def test_an_emulation_that_loses_the_gpu_is_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no process of its own: CUDA would fail every later one. Others fail alone."""
    begun: list[str] = []

    def emulate(_: SpecRunner, cell: Cell, __: object) -> None:
        begun.append(cell.key)
        raise ValueError("no users") if len(begun) == 1 else torch.AcceleratorError("CUDA error")

    ready: Future[None] = Future()
    ready.set_result(None)
    trained = SimpleNamespace(run=lambda *_: None)
    monkeypatch.setattr("studies.execution.run.start_ray", lambda *_: False)
    monkeypatch.setattr("studies.execution.run.preparing_data", lambda *_: nullcontext(ready))
    monkeypatch.setattr("studies.execution.run.TuneRun", lambda *_: trained)
    monkeypatch.setattr(SpecRunner, "emulate", emulate)
    study = small_study(emulate={"users": [2, 3, 4, 5]}, airs=["umi"])
    results = studies.run(study, tmp_path / "out").set_index("cell")
    first, second, *later = [c.key for c in ours(Plan(study).known_cells({}))]
    assert begun == [first, second]
    assert results.loc[first, "reason"] == "no users"
    assert results.loc[second, "reason"].startswith("AcceleratorError: CUDA error")
    assert len(later) == 2
    told = f"not begun, as {second} has lost the GPU: {results.loc[second, 'reason']}"
    assert set(results.loc[later, "reason"]) == {told}


class _Tune:
    """In place of Tune's run: makes frozen tokens without content, and ends with them.

    Those with the text ``broken`` among their settings fail.
    """

    broken = ""

    def __init__(self, study: Study, folder: StudyFolder, *_: object) -> None:
        self._folder = folder

    def run(self, graph: SpecGraph, *_: object) -> None:
        graph.grow()
        while isinstance(spec := graph.take(), FeaturesSpec):
            if self.broken in spec.model_dump_json():
                graph.fail(spec.key, "KeyError: 'codebook'")
            else:
                with self._folder.artifacts.write(spec):
                    graph.succeed(spec.key)
            graph.grow()


@pytest.fixture
def _tokens_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    ready: Future[None] = Future()
    ready.set_result(None)
    monkeypatch.setattr("studies.execution.run.start_ray", lambda *_: False)
    monkeypatch.setattr("studies.execution.run.preparing_data", lambda *_: nullcontext(ready))
    monkeypatch.setattr("studies.execution.run.write_samples", lambda *_: None)
    monkeypatch.setattr("studies.execution.run.TuneRun", _Tune)


@pytest.mark.usefixtures("_tokens_alone")
def test_frozen_tokens_that_fail_cost_only_the_methods_that_read_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with no method left stops, as it has nothing to compare."""
    whole = {"name": "unaligned", "label": "whole", "models": {"audio_span": "whole"}}
    study = small_study(methods=["unaligned", whole])
    monkeypatch.setattr(_Tune, "broken", '"span":"whole"')
    results = studies.run(study, tmp_path / "out").set_index("method")
    told = "frozen tokens of audio by encoder ast failed: KeyError: 'codebook'"
    assert results.loc["whole", "reason"] == told
    assert results.loc["unaligned", "reason"] == "it left no result"

    monkeypatch.setattr(_Tune, "broken", '"medium":"audio"')
    with pytest.raises(ValueError, match=f"^{told}$"):
        studies.run(study, tmp_path / "none")


def test_a_process_that_dies_while_questions_are_answered_costs_a_new_start(
    finished: Path, copy: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(copy.open())
    cells = plan.known_cells(choose_learning_rates(plan, copy))
    cell = next(cell for cell in cells if cell.method == "aligned")
    copy.result(cell.key).unlink()
    evaluate, deaths = Network.evaluate, ["killed", "killed again"]

    def dying(network: Network, *arguments: Any) -> Evaluation:
        if deaths:
            raise PeerLostError(deaths.pop())
        return evaluate(network, *arguments)

    monkeypatch.setattr(Network, "evaluate", dying)
    SpecRunner(plan.study, copy, plan.features()).run(cell)
    pd.testing.assert_frame_equal(table_of(copy.root), table_of(finished))
