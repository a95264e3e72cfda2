"""Recipes: paper 1's to the letter, a study's own keys on top, and what cannot be pooled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from studies import load
from studies.plan.cells import Plan
from studies.plan.study import Study
from tokcom_core.encoders import Ast, Vivit
from tokcom_core.systems.mlms import Mlms
from tokcom_core.systems.mlms.config import AlignmentConfig, PoolingConfig

from ..conftest import CLIPS, SEED
from .here import run_here
from .small import mlms

ALL = {"slide": "all"}
WHOLE_SOUND = {"name": "ast", "span": "whole"}


def _plan(**keys: Any) -> Plan:
    return Plan(Study(name="s", **keys))


def test_paper1_is_the_recipe_of_its_authors() -> None:
    study = load("paper1")
    models = study.systems.mlms.models
    assert models.language == "Qwen/Qwen2.5-1.5B"
    assert models.receiver_width == 1024
    assert (models.slide, models.slide_rounding) == ("all", "floor")
    assert (models.frames, models.vision_crop) == ("first", "center")
    stage_1, stage_2 = study.systems.mlms.alignment, study.systems.mlms.fine_tuning
    assert (stage_1.steps, stage_1.batch_size, stage_1.learning_rate) == (500, 32, 1e-4)
    assert (stage_1.pooling.vision, stage_1.pooling.audio) == ("cls", "first_two")
    assert (stage_1.temperature, stage_1.snr_db) == (0.07, 10.0)
    assert stage_1.train_anchor
    assert not stage_1.reconstruct_questions
    assert (stage_2.steps, stage_2.batch_size, stage_2.learning_rates) == (300, 8, (1e-4,))
    assert (stage_2.schedule, stage_2.warmup_steps) == ("constant", 0)
    assert stage_2.answer_loss == "first_token"
    assert study.evaluation.metric == "first_token"
    assert not stage_2.rescale_receivers
    assert stage_1.gradient_clip is stage_2.gradient_clip is None


def _alignment(recipe: str | None = None, **keys: Any) -> AlignmentConfig:
    return Study(name="s", recipe=recipe, **mlms(alignment=keys)).systems.mlms.alignment


def test_a_studys_own_keys_win() -> None:
    own = _alignment("paper1", steps=7, pooling={"audio": "cls"})
    assert own.steps == 7
    assert own.batch_size == 32
    assert own.pooling == PoolingConfig(vision="cls", audio="cls")
    assert _alignment().pooling.vision == "mean"
    assert set(_alignment(pooling="cls").pooling.model_dump().values()) == {"cls"}


def test_a_relative_checkpoint_is_absolute_for_workers_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "other"):
        (tmp_path / name).mkdir()
    chosen = {"language": "./mine", "audio": "other", "vision": {"name": "vivit"}}
    own = {"name": "aligned", "label": "own", "models": {"audio": {"name": "ast"}}}
    own["models"]["audio"]["checkpoint"] = "./mine"  # type: ignore[index]
    study = Study(name="s", methods=(own,), **mlms(models=chosen))
    models, others = study.systems.mlms.models, study.system(study.methods[0]).model_dump()
    assert models.language == str(tmp_path / "mine")
    assert models.audio == str(tmp_path / "other")
    assert models.encoder("vision").model_dump()["checkpoint"] == "pocket"
    assert others["models"]["audio"]["checkpoint"] == str(tmp_path / "mine")


def test_what_was_resolved_once_is_read_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the name of a model of the Hub lies where a study is read, not where it began."""
    monkeypatch.chdir(tmp_path)
    study = Study(name="s", **mlms(models={"language": "some/model"}))
    (tmp_path / "linked").symlink_to(tmp_path)
    linked = str(tmp_path / "linked" / "mine")
    assert Study(name="s", **mlms(models={"audio": linked})).systems.mlms.models.audio == linked
    file = tmp_path / "out" / "study.yaml"
    file.parent.mkdir()
    file.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    (tmp_path / "some" / "model").mkdir(parents=True)
    assert load(file) == study
    here = Study(name="s", **mlms(models={"language": "some/model"})).systems.mlms.models
    assert here.language == str(tmp_path / "some" / "model")


@pytest.mark.parametrize("of_a_method", [True, False])
def test_an_encoder_that_is_a_mapping_encodes_the_part_that_the_keys_beside_it_name(
    of_a_method: bool,
) -> None:
    encoders = {"audio": {"name": "ast"}, "vision": {"name": "vivit", "crop": "none"}}
    parts = {"audio_span": "whole", "frames": "first", "vision_crop": "center"}
    if of_a_method:
        methods = [{"name": "aligned", "label": "own", "models": parts}, "aligned"]
        study = Study(name="s", methods=methods, **mlms(models={**encoders, "frames": "even"}))
    else:
        study = Study(name="s", methods=["aligned"], **mlms(models={**encoders, **parts}))
    read = Study.resolved(**study.model_dump(mode="json"))
    assert read == study
    for own in (study, read):
        models = own.system(own.methods[0]).models  # type: ignore[attr-defined]
        assert models.encoder("audio").span == "whole"
        assert models.encoder("vision").frames == "first"
        assert models.encoder("vision").crop == ("center" if of_a_method else "none")
        usual = own.system(own.methods[-1]).models  # type: ignore[attr-defined]
        assert usual.encoder("audio").span == ("first" if of_a_method else "whole")


def test_a_recipes_frames_are_those_of_an_encoder_that_names_none() -> None:
    models = {"audio": Ast(span="whole"), "vision": {"name": "vivit", "checkpoint": "pocket"}}
    found = Study(name="s", recipe="paper1", **mlms(models=models)).systems.mlms.models
    assert found.encoder("vision") == Vivit(frames="first", crop="center")
    assert found.encoder("audio") == Ast(span="whole")
    usual = Study(name="s", **mlms(models=models)).systems.mlms.models
    assert usual.encoder("vision") == Vivit()


def test_pocket_models_are_the_same_study_in_the_miniature_world() -> None:
    real, study = load("paper1"), load("paper1", ("models=pocket",))
    system = study.systems.mlms
    assert study.data.minimusic is not None
    assert system.models.audio == system.models.vision == "pocket"
    assert system.models.language_for(study.task.media) == "pocket"
    assert system.models.slide == "all"
    assert [(t["audio"], t["vision"]) for t in study.tokens] == [(16, 16), (52, 32), (52, 118)]
    for key in ("methods", "airs", "train_snr_db", "seeds"):
        assert getattr(study, key) == getattr(real, key)
    for key in ("alignment", "fine_tuning"):
        assert getattr(system, key) == getattr(real.systems.mlms, key)
    assert system.models.slid_length("audio") == 52
    assert (real.resources.gpu, study.resources.gpu) == (1.0, 0.0)
    assert load("quickstart", ("models=pocket",)).tokens == load("quickstart").tokens
    on_gpu = ("models=pocket", "device=cuda", "resources.gpu=1")
    assert load("quickstart", on_gpu).device == "auto", "pocket models reserve no GPU"


def test_pocket_models_are_those_of_methods_too() -> None:
    big = {"name": "aligned", "label": "big", "models": {"language": "./mine", "slide": "all"}}
    study = load("quickstart", {"methods": ["aligned", big], "models": "pocket"})
    own = study.system(study.methods[1])
    assert isinstance(own, Mlms)
    assert own.models.language is None
    assert own.models.slide == "all"
    grid = load("paper1", {"models": "pocket", "tokens": {"audio": [64, 128], "vision": 32}})
    assert grid.tokens == ({"audio": 52, "vision": 32},)


def test_the_short_form_of_alignment_keeps_the_recipe() -> None:
    own = ("models=pocket", "methods=[{system: mlms}]")  # which sets no losses itself
    short = load("paper1", (*own, "systems.mlms.alignment=contrastive"))
    long = load("paper1", (*own, "systems.mlms.alignment.losses=contrastive"))
    assert short.systems == long.systems
    assert short.systems.mlms.alignment.steps == 500


def test_the_miniature_world_is_the_one_of_the_tasks_media(tmp_path: Path) -> None:
    own = {"folder": str(tmp_path)}
    for task, made in (("clevr", "miniclevr-2000-1"), ("avqa", "minimusic-2000-1")):
        world = Study(name="s", task=task, data=own, models="pocket").data.made
        assert world is not None
        assert world.identity == made


def test_the_recipe_trains_the_pocket_models(minimusic: Path, tmp_path: Path) -> None:
    """One ``--set`` away from the preset; here with fewer steps, too."""
    study = load(
        "paper1",
        (
            "models=pocket",
            f"data.minimusic={{clips: {CLIPS}, seed: {SEED}}}",
            "methods=[aligned]",
            "train_snr_db=12",
            "tokens={audio: 16, vision: 16}",
            "seeds=0",
            "systems.mlms.alignment.steps=3",
            "systems.mlms.fine_tuning={steps: 3, reference_steps: 3}",
        ),
    )
    assert study.systems.mlms.fine_tuning.learning_rates == (1e-4,)
    table = run_here(study, tmp_path / "out", data=minimusic)
    assert set(table["method"]) == {"aligned", "blind", "text-oracle"}
    assert set(table["status"]) == {"ok"}
    assert table["first_token_loss"].notna().all()
    assert table["accuracy"].tolist() == table["first_token_accuracy"].tolist()


@pytest.mark.parametrize(
    ("pooling", "models", "tokens", "complaint"),
    [
        ({"vision": "cls"}, {}, 8, "vision 'cls' needs the class token"),
        ({"audio": "cls+distillation"}, {}, 8, "audio 'cls+distillation' needs the class token"),
        ({"audio": "cls+distillation"}, ALL, 8, "not one of 8 evenly spaced"),
        ({"audio": "cls"}, {**ALL, "audio_span": "whole"}, 8, "class token for the whole sound"),
        ({"audio": "cls"}, {**ALL, "audio": WHOLE_SOUND}, 8, "class token for the whole sound"),
        ({"audio": "first_two"}, ALL, 1, "needs two tokens, but tokens.audio is 1"),
    ],
)
def test_pooling_of_tokens_that_are_not_sent_is_refused(
    pooling: dict[str, str], models: dict[str, Any], tokens: int, complaint: str
) -> None:
    keys = mlms(alignment={"pooling": pooling}, models=models)
    budget = {"audio": tokens, "vision": 8}
    with pytest.raises(ValueError, match=r"alignment\.pooling") as caught:
        _plan(methods=["aligned"], tokens=budget, **keys)
    assert complaint in str(caught.value)
    _plan(methods=["unaligned"], tokens=budget, **keys)  # it pools nothing


def test_class_and_distillation_tokens_are_pooled_where_they_are_sent() -> None:
    """All 52 tokens of the pocket AST: its second token is its distillation token."""
    pooling = {"vision": "cls", "audio": "cls+distillation"}
    tokens = {"audio": 52, "vision": 8}
    plan = _plan(
        methods=["aligned"], tokens=tokens, **mlms(models=ALL, alignment={"pooling": pooling})
    )
    assert any(cell.reference is None for cell in plan.known_cells({}))


def test_stage_1_has_an_snr_of_its_own() -> None:
    def snrs(**keys: Any) -> set[tuple[float, float]]:
        """Those of both stages, by what the air is asked for."""
        plan = _plan(methods=["aligned"], train_snr_db=[0, 12], **keys)
        lineages = [cell.trained.lineage for cell in plan.known_cells({}) if not cell.reference]
        found = [[spec.crossing.snr_db for spec in own if spec.crossing] for own in lineages]
        return {(first, second) for first, second in found}

    ten = mlms(alignment={"snr_db": 10})
    assert snrs() == {(0.0, 0.0), (12.0, 12.0)}
    assert snrs(**ten) == {(10.0, 0.0), (10.0, 12.0)}
    (first, _), *_ = snrs(bandwidth_hz=10e6, power_mode="fixed_power", **ten)
    assert first == pytest.approx(10 - 3.0103)
