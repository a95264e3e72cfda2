"""How a search runs: its trials, what they share, and that it finds what a study would."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from ray import tune

import studies
from studies.execution import parameter_search
from studies.execution.parameter_search import _kept, _learn, _scheduler, _try
from studies.execution.reporting import Report
from studies.execution.runner import SpecRunner
from studies.plan.artifact_spec import Spec
from studies.plan.cells import Plan
from studies.plan.overrides import overrides_of
from studies.plan.search import Range, Search, variant_of
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from tokcom_core.checkpoints import pocket_folder

from .conftest import tokcom
from .small import LANGUAGE, RATES, small_search, small_study, write_study


def test_relative_checkpoints_start_from_the_folder_of_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials run in folders of their own."""
    for name in "ab":
        shutil.copytree(pocket_folder() / "language", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    tried: list[Search] = []

    def run(_: Plan, search: Search, *rest: Any) -> None:
        tried.append(search)
        raise ValueError("runs")

    monkeypatch.setattr(parameter_search, "_run_trials", run)
    over = {LANGUAGE: ["pocket", "./a", Path("b")], RATES: {"low": 0.001, "high": 0.01}}
    with pytest.raises(ValueError, match="runs"):
        parameter_search.search_settings(small_study(), small_search(over=over), "out")
    (search,) = tried
    assert search.over[LANGUAGE] == ("pocket", str(tmp_path / "a"), str(tmp_path / "b"))
    assert search.over[RATES] == Range(low=0.001, high=0.01)


def test_a_folder_belongs_to_one_version_of_each_checkpoint_that_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else losses of earlier weights would pass for those of today."""
    for name in "ab":
        shutil.copytree(pocket_folder() / "language", tmp_path / name)
    asked = small_search(over={LANGUAGE: [str(tmp_path / name) for name in "ab"]})

    def search() -> None:
        parameter_search.search_settings(small_study(), asked, tmp_path / "out")

    def run(*_: Any) -> None:
        raise ValueError("it runs")

    monkeypatch.setattr(parameter_search, "start_ray", lambda *_: False)
    monkeypatch.setattr(parameter_search, "preparing_data", run)
    for _ in range(2):
        with pytest.raises(ValueError, match="it runs"):
            search()
    weights = tmp_path / "b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b" ")
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'b'} has changed since .*; choose"):
        search()


@pytest.fixture(scope="module")
def found(minimusic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search by the command, in which one rate learns nothing."""
    folder = tmp_path_factory.mktemp("search")
    file = write_study(folder / "study.yaml", data={"folder": str(minimusic)})
    done = tokcom(
        "study", "search", file, "--method", "aligned", "--trials", 3, "--out", folder / "out",
        "--over", f"{RATES}=[0.000001, 0.01]", "--over", "tokens.audio=[2, 1000000]",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "shown.txt").write_text(done.stdout)
    return folder


def test_what_trials_share_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = small_search().base(small_study())
    folder = StudyFolder(tmp_path / "out")
    folder.begin(base)
    variants = [variant_of(base, {RATES: rate}) for rate in (0.001, 0.002)]
    made: list[str] = []

    def make(_: SpecRunner, spec: Spec, report: Report) -> None:
        made.append(spec.key)
        with folder.artifacts.write(spec) as partial:
            time.sleep(0.02)  # while the other trial looks for it
            (partial / "validation.json").write_text(json.dumps({"loss": 1.0, "accuracy": 0.5}))

    monkeypatch.setattr(SpecRunner, "run", make)
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(_learn, variants, [folder, folder], [[], []]))
    assert found == 2 * [{"step": 4, "loss": 1.0, "accuracy": 0.5}]
    specs = [(*own.features, *own.validation.trained.lineage, own.validation) for own in variants]
    assert sorted(made) == sorted({spec.key for own in specs for spec in own})
    shared = {own.validation.trained.lineage[0].key for own in variants}
    assert len(shared) == 1


def test_trials_read_the_tokens_that_were_encoded_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = small_search()
    base = search.base(small_study())
    folder = StudyFolder(tmp_path / "out")
    folder.begin(base)
    shared = search.features(base)
    for spec in shared:
        with folder.artifacts.write(spec):
            pass
    made: list[Spec] = []

    def make(_: SpecRunner, spec: Spec, report: Report) -> None:
        made.append(spec)
        with folder.artifacts.write(spec) as partial:
            (partial / "validation.json").write_text(json.dumps({"loss": 1.0, "accuracy": 0.5}))

    monkeypatch.setattr(SpecRunner, "run", make)
    for count in (2, 4):
        _learn(variant_of(base, {"tokens.audio": count}), folder, shared)
    assert {spec.kind for spec in made} == {"alignment", "fine-tuning", "validation"}


def test_no_trial_is_stopped_for_the_validation_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial whose training is there already reports a loss of validation alone."""
    steps = {"systems": {"mlms": {"fine_tuning": {"steps": 100}}}}
    search = small_search(stops_early=True)
    base = search.base(small_study(**steps))
    folder = StudyFolder(tmp_path / "out")
    folder.begin(base)

    def make(_: SpecRunner, spec: Spec, report: Report) -> None:
        for step in (25, 50, 75, 100):
            report({"step": step, loss: 2.0})
        with folder.artifacts.write(spec) as partial:
            (partial / "validation.json").write_text(json.dumps({"loss": 1.0, "accuracy": 0.5}))

    told: list[dict[str, Any]] = []
    loss = base.system(base.methods[0]).validation_loss
    closed: list[SpecRunner] = []
    monkeypatch.setattr(SpecRunner, "run", make)
    monkeypatch.setattr(SpecRunner, "close", lambda self: closed.append(self))
    monkeypatch.setattr(tune, "report", told.append)
    values = {"tokens.audio": 2}
    _try(values, base, folder, [])
    assert len(closed) == 1
    trained = told.copy()
    told.clear()
    _try(values, base, folder, [])
    assert ([r["loss"] for r in trained], [r["loss"] for r in told]) == ([2, 2, 2, 2, 1], [1])

    asha = _scheduler(base, search)
    asha.set_search_properties("loss", "min")
    for name, reports in (("there already", told), ("new", trained)):
        trial = SimpleNamespace(trial_id=name)
        asha.on_trial_add(None, trial)
        assert {asha.on_trial_result(None, trial, report) for report in reports} == {"CONTINUE"}
        asha.on_trial_complete(None, trial, reports[-1])
    lagging = SimpleNamespace(trial_id="lagging")
    asha.on_trial_add(None, lagging)
    assert asha.on_trial_result(None, lagging, {**trained[0], "loss": 3.0}) == "STOP"


def test_own_code_that_exits_fails_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tune ends a trial that it stops early by SystemExit, too; that one is no failure."""
    base = small_search().base(small_study())
    folder = StudyFolder(tmp_path / "out")
    folder.begin(base)
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", told.append)
    monkeypatch.setattr(SpecRunner, "run", lambda *_: sys.exit(0))
    _try({RATES: 0.001}, base, folder, [])
    (row,) = told
    assert row["status"] == "failed"
    assert row["reason"].startswith("SystemExit: 0")

    loss = base.system(base.methods[0]).validation_loss
    monkeypatch.setattr(SpecRunner, "run", lambda _, spec, report: report({"step": 1, loss: 2.0}))
    monkeypatch.setattr(tune, "report", lambda _: sys.exit(0))
    made = {variant_of(base, {RATES: 0.001}).validation.trained.key}
    monkeypatch.setattr(StudyFolder, "has", lambda _, spec: spec.key not in made)
    _try({RATES: 0.001}, base, folder, [])
    assert len(told) == 1


def test_trials_come_by_validation_loss_and_failures_last(found: Path) -> None:
    table = pd.read_parquet(found / "out" / "search.parquet")
    done = table[table["status"] == "done"]
    assert set(table["trial"]) == {0, 1, 2}
    assert done["loss"].is_monotonic_increasing
    failed = table[table["status"] == "failed"]
    assert (failed["tokens.audio"] == 1_000_000).all()
    assert failed["reason"].ne("").all()
    measured = [
        json.loads(file.read_text())["loss"]
        for file in (found / "out" / "artifacts").glob("validation-*/validation.json")
    ]
    assert set(done["loss"]) == set(measured)
    best = done.iloc[0]
    shown = (found / "shown.txt").read_text()
    assert f"the best: --set {RATES}={best[RATES]:g} --set tokens.audio=2" in shown


def test_the_same_search_finds_the_same_and_trains_nothing_anew(found: Path) -> None:
    out = found / "out"
    before = pd.read_parquet(out / "search.parquet").drop(columns="wall_s")
    trained = {file: file.stat().st_mtime for file in (out / "artifacts").glob("*/spec.json")}
    study = studies.load(out / "study.yaml")
    over = {RATES: [0.000001, 0.01], "tokens.audio": [2, 1000000]}
    again = studies.search(study, "aligned", over, out, trials=3)
    pd.testing.assert_frame_equal(again.drop(columns="wall_s"), before)
    assert {f: f.stat().st_mtime for f in (out / "artifacts").glob("*/spec.json")} == trained


def test_a_search_does_not_take_the_folder_of_a_study(tmp_path: Path) -> None:
    """It would write its base over the study."""
    study = small_study(claims=[{"better": "aligned", "than": "aligned"}])
    folder = StudyFolder(tmp_path / "out")
    folder.begin(study)
    with pytest.raises(ValueError, match="holds a study; choose another --out for a search"):
        parameter_search.search_settings(study, small_search(), tmp_path / "out")
    assert studies.load(folder.config) == study


def test_the_best_settings_are_shown_as_the_command_takes_them(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tokens, rate = '{"audio": 4, "vision": 2}', 0.0123456789
    best = {LANGUAGE: "/data/my models/a", "tokens": tokens, RATES: rate}
    table = pd.DataFrame([{**best, "status": "done"}])
    monkeypatch.setattr(parameter_search, "search_settings", lambda *_: table)
    file = write_study(tmp_path / "study.yaml")
    overs = [part for key in best for part in ("--over", f"{key}=[1, 2]")]
    told = shown("study", "search", file, "--method", "aligned", *overs).splitlines()[-1]
    values = shlex.split(told.removeprefix("the best:"))[1::2]
    assert [change.value for change in overrides_of(values)] == [
        "/data/my models/a",
        {"audio": 4, "vision": 2},
        rate,
    ]


def test_the_best_setting_of_one_method_of_several_comes_with_the_method(
    shown: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = "methods.alignment.temperature"
    table = pd.DataFrame([{key: 0.1, "status": "done"}])
    monkeypatch.setattr(parameter_search, "search_settings", lambda *_: table)
    file = write_study(tmp_path / "study.yaml", methods=["unaligned", "aligned"])
    over = f"{key}=[0.05, 0.1]"
    told = shown("study", "search", file, "--method", "aligned", "--over", over).splitlines()[-1]
    study = studies.load(file, shlex.split(told.removeprefix("the best:"))[1::2])
    (method,) = study.methods
    assert method.settings["alignment"]["temperature"] == 0.1


def test_code_that_a_value_alone_names_is_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from tokcom_core.encoders import Clip\nclass Own(Clip): pass\n"
    (tmp_path / "own_encoder.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    own = {"name": "custom", "class": "own_encoder:Own", "checkpoint": "pocket"}
    asked = small_search(over={"systems.mlms.models.vision": ["pocket", own]})

    def start(study: Study, address: str | None, modules: list[str]) -> bool:
        raise ValueError(f"ships {modules}")

    monkeypatch.setattr(parameter_search, "start_ray", start)
    with pytest.raises(ValueError, match=re.escape("ships ['own_encoder']")):
        parameter_search.search_settings(small_study(), asked, tmp_path / "out")


def test_a_key_is_searched_once(refused: Callable[..., str], tmp_path: Path) -> None:
    said = refused(
        "study", "search", write_study(tmp_path / "study.yaml"), "--method", "aligned",
        "--over", "tokens.audio=[2, 4]", "--over", "tokens.audio=[8, 16]",
    )  # fmt: skip
    assert "--over tokens.audio is there twice; give all its values in one list" in said


def test_choices_of_several_kinds_are_kept_as_json() -> None:
    assert _kept(0.1, Range(low=0, high=1)) == 0.1
    assert _kept("norm", ("norm", "slide")) == "norm"
    assert _kept(5, ("adaptive", 5)) == "5"
    assert _kept([1, 2], ([1, 2], [3, 4])) == "[1, 2]"


def test_optuna_takes_no_training_loss_for_one_of_validation() -> None:
    """That of a trial which ASHA has stopped may be lower."""
    optuna = pytest.importorskip("optuna")
    from studies.execution.optuna_search import PrunedOptunaSearch

    searcher = PrunedOptunaSearch(seed=0)
    searcher.set_search_properties("loss", "min", {"x": tune.uniform(0, 1)})
    reports = {
        "stopped": {"loss": 0.1, "trained_steps": 25, "training_iteration": 1},
        "done": {"loss": 0.5, "status": "done", "training_iteration": 2},
    }
    for name, report in reports.items():
        searcher.suggest(name)
        searcher.on_trial_result(name, report)
        searcher.on_trial_complete(name, report)
    trials = searcher._ot_study.get_trials()
    states = optuna.trial.TrialState
    assert [trial.state for trial in trials] == [states.PRUNED, states.COMPLETE]
    assert searcher._ot_study.best_value == 0.5


def test_optuna_is_asked_for_where_it_is_missing(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    file = write_study(tmp_path / "study.yaml")
    said = refused(
        "study", "search", file, "--method", "aligned", "--over", "tokens.audio=[2, 4]",
        "--by", "optuna", "--out", tmp_path / "out",
    )  # fmt: skip
    assert said.endswith('pip install "tokcom[search]"')
    assert not (tmp_path / "out").exists()
