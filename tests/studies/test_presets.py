"""Presets at the scale of a smoke test, with pocket and with real models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from studies import load, presets
from studies.plan.cells import Plan
from studies.plan.study import Study
from tokcom_core.datasets.data import MiniClevr
from tokcom_core.datasets.miniclevr.write import write_miniclevr
from tokcom_core.systems import SYSTEMS, Phase

from ..conftest import CLIPS, SEED
from .here import run_here

SMOKE = "scale=smoke"
MINIATURE = "data.minimusic={clips: 2000, seed: 5}"


def _phases(study: Study) -> list[Phase]:
    plan = Plan(study)
    cells = [c for own in plan.contenders for c in plan.cells_of(own, None)]
    return [spec.definition for cell in cells for spec in cell.trained.lineage]


@pytest.mark.parametrize("name", presets())
def test_a_smoke_test_is_the_same_study_with_little_of_everything(name: str) -> None:
    models = ("models=pocket",) if load(name).data.made is None else ()
    whole, study = load(name, models), load(name, (*models, SMOKE))
    assert [m.label for m in study.methods] == [m.label for m in whole.methods]
    assert study.data.made is not None
    assert len(study.seeds) == len(study.airs) == len(study.tokens) == 1
    assert study.evaluation.questions == 16
    assert {phase.training.steps for phase in _phases(study)} == {2}
    assert {phase.name for phase in _phases(study)} == {phase.name for phase in _phases(whole)}
    assert Study(**study.model_dump(mode="json")) == study


def test_every_preset_says_how_long_it_takes() -> None:
    assert [name for name in presets() if "minutes" not in load(name).description] == []


def test_a_smoke_test_has_the_deadline_that_most_may_meet() -> None:
    for deadlines_ms, kept in (([2, 20], 20.0), ([2, None], None), (3, 3.0)):
        study = load("fig3", (SMOKE, f"deadline_ms={json.dumps(deadlines_ms)}"))
        assert study.deadline_ms == (kept,)


def test_a_smoke_test_has_few_reviews() -> None:
    study = load("taichi-fig10", (SMOKE, "data.miniclevr.reviews=30000"))
    assert study.data == load("taichi-fig10", (SMOKE,)).data


def test_a_training_that_a_system_goes_without_stays_out() -> None:
    keys = {"recipe": "deepsc-papers", "systems": {"mlms": {"alignment": "none"}}}
    study = Study(name="a", scale="smoke", **keys)
    assert study.systems.udeepsc.semantic is None
    assert study.systems.mlms.alignment.losses == "none"
    assert study.systems.udeepsc.training.steps == 2


@pytest.mark.parametrize("name", ["fig3", pytest.param("equal-airtime", marks=pytest.mark.slow)])
def test_paper1s_presets_run(name: str, minimusic: Path, tmp_path: Path) -> None:
    assert SEED == 5
    study = load(name, (SMOKE, MINIATURE))
    assert study.data.made is not None
    assert study.data.made.identity == f"minimusic-{CLIPS}-{SEED}"
    table = run_here(study, tmp_path / "out", data=minimusic)
    assert set(table["status"]) == {"ok"}
    assert {m.label for m in study.methods} < set(table["method"])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in presets() if name.startswith("taichi")])
def test_taichis_presets_run(name: str, tmp_path: Path) -> None:
    study = load(name, (SMOKE,))
    assert isinstance(study.data.made, MiniClevr)
    write_miniclevr(tmp_path / "world", study.data.made, workers=1)
    table = run_here(study, tmp_path / "out", data=tmp_path / "world")
    assert set(table["status"]) == {"ok"}
    assert {m.label for m in study.methods} < set(table["method"])


@pytest.mark.parametrize("name", presets())
def test_real_models_are_the_same_study_with_the_papers_checkpoints(name: str) -> None:
    whole, study = load(name), load(name, ("models=real", "data.folder=/data"))
    assert study.data.made is None
    assert str(study.data.folder) == "/data"
    assert study.resources.gpu == 1
    assert study.methods == whole.methods
    assert study.tokens == whole.tokens
    for method in study.methods:
        for checkpoint in study.system(method).checkpoints(study.task):
            assert "/" in checkpoint.name, (method.label, checkpoint)


def test_taichis_rates_are_a_recipe() -> None:
    system = Study(name="a", recipe="taichi").systems.taichi
    assert system.pretraining.learning_rate == 1e-3


def test_a_studys_own_checkpoint_stays_beside_real_ones() -> None:
    own = "systems.mlms.models.language=Qwen/Qwen2.5-0.5B"
    models = load("fig3", ("models=real", own)).systems.mlms.models
    assert models.language == "Qwen/Qwen2.5-0.5B"
    assert models.vision == SYSTEMS["mlms"].REAL["models"]["vision"]
