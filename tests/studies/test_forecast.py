"""What a study is expected to take: by comparable work, and only by that."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from actors import Network
from studies.cli.forecast_table import trials_at_once
from studies.execution.checkpoints import KeptCheckpoints
from studies.plan.artifact_spec import Spec
from studies.plan.cells import Plan
from studies.plan.forecast import Forecast, ForecastRow, specs_of
from studies.plan.study import Study
from studies.plan.workload import Usage, workload_of
from studies.storage.folder import StudyFolder
from studies.storage.usage import read_usages, size_of

from .conftest import GOLDEN
from .here import encoded, run_here
from .small import mlms, small_study

_DATA = {"data": {"minimusic": {"clips": 60, "seed": 1}}}


def _specs(study: Study) -> list[Spec]:
    plan = Plan(study)
    return specs_of(plan, plan.known_cells({}))


def _took(study: Study, seconds: float, size: int) -> list[Usage]:
    """What its specs took if each of their units took so many seconds."""
    works = [workload_of(spec, study) for spec in _specs(study)]
    return [Usage(work=w, seconds=seconds * w.units, bytes=size * w.stored) for w in works]


def _forecast(study: Study, usages: list[Usage]) -> tuple[Forecast, dict[str, ForecastRow]]:
    found = Forecast(Plan(study), _specs(study), usages)
    return found, {row.kind: row for row in found.rows}


def _with_steps(steps: int, **keys: Any) -> Study:
    return small_study(**_DATA, **mlms(alignment={"steps": steps}), **keys)


def test_a_training_takes_the_median_of_comparable_ones_by_its_steps() -> None:
    earlier = [u for s in (1.0, 2.0, 30.0) for u in _took(_with_steps(4), s, 100)]
    _, rows = _forecast(_with_steps(8, seeds=[5, 6, 7]), earlier)
    alignment = rows["alignment"]
    assert (alignment.runs, alignment.earlier, alignment.complete) == (3, 3, True)
    assert alignment.seconds == 3 * 8 * 2.0
    assert alignment.bytes == 3 * 100
    assert rows["cell"].bytes == 3 * 3 * 24 * 100
    assert not rows["data"].known


def test_a_smoke_test_says_nothing_of_its_study() -> None:
    """Its few steps take as long as their start, which is counted once for each step."""
    smoke, half = _took(_with_steps(2), 20.0, 1), _took(_with_steps(10), 0.5, 1)
    study = _with_steps(21)
    assert not _forecast(study, smoke)[1]["alignment"].known
    assert _forecast(study, [*smoke, *half])[1]["alignment"].seconds == 21 * 0.5
    assert _forecast(_with_steps(1), half)[1]["alignment"].seconds == 0.5


def test_nearest_work_counts_and_unlike_work_does_not() -> None:
    far = _took(small_study(**_DATA, airs="awgn", tokens={"audio": 8, "vision": 8}), 9.0, 1)
    near = _took(small_study(**_DATA, airs="awgn"), 2.0, 1)
    study = small_study(**_DATA)
    assert _forecast(study, far)[1]["alignment"].seconds == 4 * 9.0
    assert _forecast(study, [*far, *near])[1]["alignment"].seconds == 4 * 2.0
    for other in (
        small_study(**_DATA, resources={"gpu": 1}),
        small_study(**_DATA, **mlms(alignment={"batch_size": 8})),
        small_study(**_DATA, **mlms(alignment={"pooling": {"audio": "first_two"}})),
    ):
        assert not _forecast(other, near)[1]["alignment"].known
    half = _forecast(small_study(**_DATA, methods=["aligned", "unaligned"]), near)[1]
    assert half["fine-tuning"].complete


def test_time_passes_by_stages_trials_at_once_and_the_longest_chain() -> None:
    study = _with_steps(4)
    forecast, rows = _forecast(study, _took(study, 1.0, 0))
    encoding_s, alignment_s, tuning_s, answering_s = 60.0, 4.0, 4.0, 24.0
    assert rows["features"].runs == 5
    one = 5 * encoding_s + alignment_s + 3 * (tuning_s + answering_s)
    assert forecast.elapsed_s(1) == one
    longest = encoding_s + alignment_s + tuning_s + answering_s
    assert forecast.elapsed_s(100) == longest


def test_trials_find_room_by_cpus_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("studies.cli.forecast_table.cpu_count", lambda: 8)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for resources, engine, trials in (
        ({"cpu": 2}, "inline", 4),
        ({"cpu": 16}, "inline", 1),
        ({"gpu": 0.5}, "inline", 4),
        ({"gpu": 0.4, "device_gpu": 0.2}, "ray", 2),
    ):
        assert trials_at_once(small_study(resources=resources, engine=engine)) == trials


def test_a_finished_study_tells_what_more_seeds_will_take(minimusic: Path, tmp_path: Path) -> None:
    study = small_study(**_DATA, methods=["aligned", "unaligned"])
    run_here(study, tmp_path / "out", data=minimusic)
    folder = StudyFolder(tmp_path / "out")
    specs = _specs(study)
    assert {file.stem for file in folder.usage.iterdir()} == {spec.key for spec in specs}
    (folder.usage / "old.json").write_text('{"version": 0}')
    usages = read_usages(StudyFolder(tmp_path / "more"))
    assert len(usages) == len(specs)
    assert all(usage.seconds > 0 for usage in usages)
    kept = (folder.artifacts.root, folder.results, folder.devices, folder.answers, folder.curves)
    later = 0.01  # rows get the references' accuracies
    assert sum(usage.bytes for usage in usages) == pytest.approx(size_of(kept), rel=later)
    own, _ = _forecast(study, usages)
    more, rows = _forecast(study.model_copy(update={"seeds": (0, 1, 2)}), usages)
    assert [row.kind for row in more.rows if not row.complete] == ["data"]
    assert rows["fine-tuning"].runs == 3 * 4
    for before, after in zip(own.rows, more.rows, strict=True):
        if after.kind in ("alignment", "fine-tuning", "cell"):
            assert after.seconds == pytest.approx(3 * before.seconds)


def test_a_training_that_was_resumed_is_no_measure(
    minimusic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(data={"folder": str(minimusic)})
    runner, folder = encoded(study, tmp_path / "out")
    alignment, tuning = Plan(study).known_cells({})[-1].trained.lineage
    monkeypatch.setattr(
        "studies.execution.runner.KeptCheckpoints", partial(KeptCheckpoints, every=2)
    )
    with monkeypatch.context() as patch:
        patch.setattr(Network, "save", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            runner.run(alignment)
    for spec in (alignment, tuning):
        runner.run(spec)
    known = {file.stem for file in folder.usage.iterdir()}
    assert tuning.key in known
    assert alignment.key not in known


def _expected(plan: str) -> dict[str, str]:
    """Number of runs of each kind of work in the table of expected time and disk."""
    expected = plan.partition("expected time and disk")[2]
    return dict(re.findall(r"^ +(\S.*?) {2,}(\d+) +\d", expected, re.MULTILINE))


def _works(plan: str) -> set[str]:
    return {name for name in _expected(plan) if not name.endswith("at once")}


def test_plan_counts_what_runs_and_estimates_it(
    finished: Path, tmp_path: Path, shown: Callable[..., str]
) -> None:
    """Also where learning rates are chosen, whose trainings are more than those of the cells."""
    plan = shown("study", "plan", GOLDEN / "methods.yaml", "--out", finished.parent / "another")
    rows = _expected(plan)
    (whole,) = rows.keys() - _works(plan)
    lines = (finished / "shown.txt").read_text()
    ran = dict(re.findall(r"^(\S.*): (\d+) of \d+ in", lines, re.MULTILINE))
    made = {name for name in ran if name.startswith("MiniMUSIC")}
    assert _works(plan) - {"data"} == ran.keys() - made
    assert all(rows[name] == runs for name, runs in ran.items() if name not in made)
    assert int(rows[whole]) == 1 + sum(int(runs) for name, runs in ran.items() if name not in made)
    assert "at least" not in plan and "of what is left" not in plan
    without = shown("study", "plan", "quickstart", "--out", tmp_path / "a" / "b")
    assert "nothing like this has run here yet" in without


def test_a_plan_of_a_folder_counts_what_it_lacks(
    finished: Path, tmp_path: Path, shown: Callable[..., str]
) -> None:
    """Of what finished cells were trained by, nothing has to be there any more."""
    out = shutil.copytree(finished, tmp_path / "out")
    command = ("study", "plan", GOLDEN / "methods.yaml", "--out", out)
    assert "time and disk: nothing is left to run" in shown(*command)
    results, artifacts = StudyFolder(out).results, StudyFolder(out).artifacts.root
    for training in artifacts.glob("alignment-*"):
        shutil.rmtree(training)
    assert "time and disk: nothing is left to run" in shown(*command)
    more = shown(*command, "--set", "eval_snr_db=[0, 10, 20]")
    assert "expected time and disk of what is left" in more
    assert _works(more) == {"evaluation"}
    table = pd.read_parquet(results)
    (results / f"{table.loc[table['method'].eq('unaligned'), 'cell'].iloc[0]}.parquet").unlink()
    again = shown(*command)
    assert _works(again) == {"evaluation"}
    assert _expected(again)["evaluation"] == "1"
