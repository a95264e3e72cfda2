"""TaiChi in whole studies: from image files to the table, with both engines, and to many users."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from transformers import GemmaConfig, PreTrainedConfig, Qwen2Config

from studies.execution.speeds import measure_speeds
from studies.plan.cells import Plan
from studies.plan.specs import PhaseSpec
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.columns import WALL_CLOCK_COLUMNS
from tests.local_ray import local_ray
from tokcom_core.datasets.data import MiniClevr
from tokcom_core.datasets.miniclevr.write import write_miniclevr
from tokcom_core.systems import merged
from tokcom_core.tasks.clevr import Clevr

from ..tokcom_core.images import write_clip, write_convnext, write_timm_convnext
from ..tokcom_core.pictures import QUESTIONS, write_language, write_models, write_pictures
from .here import run_here

IMAGES = 40
_PHASE = {"steps": 2, "batch_size": 4}
_PHASES = ("pretraining", "tuning", "codec_training", "coding_training", "reference_training")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("miniclevr")
    write_miniclevr(root, MiniClevr(images=IMAGES))
    return root


@pytest.fixture(scope="module")
def keys(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small study of models that know the world's words, but nothing about them."""
    task = Clevr()
    samples = [task.samples(world, split) for split in task.splits]
    columns = [own[c] for own in samples for c in ("instruction", "answer", "caption")]
    words = {word for column in columns for text in column for word in text.split()}
    folder = tmp_path_factory.mktemp("models")
    models = write_models(folder, sorted(words))
    models["low"] = {"name": "clip", "checkpoint": str(write_clip(folder / "clip-6x6", 48))}
    settings = {"models": models, "transmitter_layers": 1, **dict.fromkeys(_PHASES, _PHASE)}
    return {
        "name": "taichi",
        "data": {"folder": str(world)},
        "task": "clevr",
        "systems": {"taichi": settings},
        "methods": ["taichi"],
        "airs": ["rayleigh"],
        "tokens": {"terminal": 9},
        "evaluation": {"questions": 12, "batch_size": 8},
    }


def _study(keys: dict[str, Any], **own: Any) -> Study:
    return Study(**merged(keys, own))


METHODS = [
    "taichi",
    "taichi-mse",
    "taichi-cross-entropy",
    "taichi-relay",
    "taichi-no-ban",
    "taichi-low",
    "taichi-high",
    "taichi-mlp",
    "mini-gemini",
    "mobilevlm",
    {"name": "taichi", "label": "packets", "transport": {"prompt": "digital"}},
    {"name": "taichi", "label": "upload", "transport": {"prompt": "file"}},
]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out") / "out"


@pytest.fixture(scope="module")
def table(keys: dict[str, Any], out: Path) -> pd.DataFrame:
    return run_here(_study(keys, methods=METHODS), out).set_index("method")


def test_from_image_files_to_the_table(table: pd.DataFrame) -> None:
    """The references, too; off-air phases are shared, as the systems' tests say."""
    assert (table["status"] == "ok").all(), table["reason"].tolist()
    assert {"blind", "text-oracle"} <= set(table.index)
    assert table["accuracy"].between(0, 1).all()
    analog = table.loc["taichi"]
    assert analog["tokens_terminal"] == 9 < analog["tokens_total"]
    assert analog["uplink_channel_uses"] == 8 * analog["tokens_total"]
    assert 0 < analog["device_gflop"] < 1
    assert 0 < analog["bs_gflop"] < 1


def test_relay_costs_more_than_one_way(table: pd.DataFrame) -> None:
    once, relay = table.loc["taichi"], table.loc["taichi-relay"]
    assert once["feedback_bits"] == 0 < relay["feedback_bits"]
    for column in ("tokens_total", "uplink_channel_uses", "airtime_ms", "energy_mj"):
        assert relay[column] > once[column]


@pytest.mark.parametrize("method", ["taichi", "taichi-relay"])
def test_the_speed_of_its_sides_is_measured(table: pd.DataFrame, out: Path, method: str) -> None:
    """What the terminal computes after its frozen encoders, and again in every round, counts."""
    found = measure_speeds(StudyFolder(out), method, 12)
    row, terminal = table.loc[method], found.devices["terminal"]
    if method == "taichi":  # how many rounds there are follows from the noise
        assert terminal.gflop == pytest.approx(row["device_gflop"])
        assert found.station.gflop == pytest.approx(row["bs_gflop"])
    assert terminal.seconds > 0 < found.station.seconds


def test_a_file_holds_the_picture_and_the_words(table: pd.DataFrame, world: Path) -> None:
    """And the base station makes the tokens, instead of the terminal."""
    upload = table.loc["upload"]
    samples = Clevr().samples(world, "test").take(range(12))
    sizes = [
        8 * ((world / name).stat().st_size + len(text.encode()))
        for name, text in zip(samples.media_id, samples["instruction"], strict=True)
    ]
    mean = sum(sizes) / len(sizes)
    assert mean <= upload["payload_bits"] <= 1.05 * mean, "blocks are filled up"
    assert upload["device_gflop"] == 0
    assert upload["bs_gflop"] > table.loc["taichi", "bs_gflop"]


@pytest.fixture
def _ray() -> Iterator[None]:
    with local_ray():
        yield


@pytest.mark.usefixtures("_ray")
def test_engine_ray_gives_the_same_table(
    keys: dict[str, Any], table: pd.DataFrame, tmp_path: Path
) -> None:
    methods = ["taichi", "taichi-relay"]
    found = run_here(_study(keys, methods=methods, engine="ray"), tmp_path / "out")
    found = found.set_index("method").loc[methods]
    unequal = [*WALL_CLOCK_COLUMNS, "config", "cell"]
    assert_frame_equal(
        found.drop(columns=unequal, errors="ignore"),
        table.loc[methods].drop(columns=unequal, errors="ignore"),
        rtol=1e-4,
    )


def test_many_users_ask_about_images(keys: dict[str, Any], tmp_path: Path) -> None:
    emulate = {"users": 500, "duration_s": 0.2, "questions_per_s": 0.5}
    found = run_here(_study(keys, emulate=emulate), tmp_path / "out").set_index("method")
    assert found.loc["taichi", "users"] == 500
    assert 0 < found.loc["taichi", "answered_fraction"] <= 1


def test_users_train_together(keys: dict[str, Any], tmp_path: Path) -> None:
    """Split-federated: each has a terminal of its own, whose trained layers are averaged."""
    federation = {"users": 3, "synchronise_every": 1}
    found = run_here(_study(keys, federation=federation), tmp_path / "out").set_index("method")
    assert found.loc["taichi", "status"] == "ok", found.loc["taichi", "reason"]
    assert found.loc["taichi", "exchanged_bits"] > 0


def test_many_users_do_not_take_rounds(keys: dict[str, Any]) -> None:
    emulate = {"users": 20, "duration_s": 0.5}
    with pytest.raises(ValueError, match=r"'taichi-relay' answers in rounds.*at once"):
        Plan(_study(keys, methods=["taichi-relay"], emulate=emulate))
    method = {"name": "taichi-relay", "transport": {"prompt": "file"}}
    with pytest.raises(ValueError, match="take analog or digital"):
        Plan(_study(keys, methods=[method]))


def test_relay_is_tested_over_what_it_is_trained_over(keys: dict[str, Any]) -> None:
    """Training sends prompt and answer as one stream, the test sends the prompt first."""
    packets = {"name": "taichi-relay", "transport": {"prompt": "digital"}}
    with pytest.raises(ValueError, match="dialogue and prompt have to travel alike"):
        Plan(_study(keys, methods=[packets]))
    packets["transport"] = {"prompt": "digital", "dialogue": "digital"}
    Plan(_study(keys, methods=[packets]))


def _last_phase(plan: Plan) -> PhaseSpec:
    (method,) = (c for c in plan.contenders if c.reference is None)
    return plan.cells_of(method, None)[0].trained


def _with_parents(spec: PhaseSpec | None) -> Iterator[PhaseSpec]:
    while spec is not None:
        yield spec
        spec = spec.parent


def test_a_micro_batch_is_a_key_of_a_training_with_one_user(keys: dict[str, Any]) -> None:
    """And cells without one keep the keys that they have always had."""
    method = {"name": "taichi", "tuning": {"micro_batch_size": 4}}
    emulate = {"users": 20, "duration_s": 0.5}
    coding, others = (_last_phase(Plan(_study(keys, methods=[m]))) for m in (method, "taichi"))
    sizes = {spec.phase: spec.definition.micro_batch_size for spec in _with_parents(coding)}
    assert sizes == {"coding": None, "codec": None, "tuning": 4, "pretraining": None}
    assert "micro_batch_size" not in others.model_dump_json()
    with pytest.raises(ValueError, match="trains its phase 'tuning' in micro-batches"):
        Plan(_study(keys, methods=[method], emulate={**emulate, "trains": True}))
    Plan(_study(keys, methods=[method], emulate=emulate))


_LANGUAGES: dict[str, PreTrainedConfig] = {
    # Every ratio of the published configuration, at an eighth of the width or less.
    "gemma-2b": GemmaConfig(
        hidden_size=256,
        intermediate_size=2048,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=1,
        head_dim=32,
    ),
    "qwen2.5-14b": Qwen2Config(
        hidden_size=320,
        intermediate_size=864,
        num_hidden_layers=4,
        num_attention_heads=40,
        num_key_value_heads=8,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
    ),
}


@pytest.fixture(scope="module")
def papers_encoders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """CLIP-ViT-L/14-336, and ConvNeXt-L at 320 px as timm has it: whole, of random weights."""
    root = tmp_path_factory.mktemp("encoders")
    clip = write_clip(
        root / "clip-vit-large-patch14-336",
        image_px=336,
        patch_px=14,
        hidden_size=1024,
        intermediate_size=4096,
        num_attention_heads=16,
        num_hidden_layers=24,
    )
    source = write_convnext(root / "source", (192, 384, 768, 1536), (3, 3, 27, 3), px=320)
    convnext = write_timm_convnext(
        root / "convnext_large_mlp.clip_laion2b_ft_320",
        source,
        architecture="convnext_large_mlp",
        pretrained_cfg={"input_size": [3, 320, 320], "mean": [0.48, 0.46, 0.41]},
    )
    shutil.rmtree(source)
    return {
        "low": {"name": "clip", "checkpoint": str(clip)},
        "high": {"name": "convnext", "checkpoint": str(convnext)},
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", _LANGUAGES)
def test_the_papers_structure_from_image_files_to_the_table(
    name: str, papers_encoders: dict[str, Any], tmp_path: Path
) -> None:
    """The encoders have the published shapes and depths, the language model some layers."""
    language = write_language(
        tmp_path / name, copy.deepcopy(_LANGUAGES[name]), begins=name == "gemma-2b"
    )
    settings = {
        "models": {"language": str(language), **papers_encoders},
        **{key: {"steps": 1, "batch_size": 2} for key in _PHASES},
    }
    study = Study(
        name="structure",
        data={"folder": str(write_pictures(tmp_path / "data", images=2))},
        task={"name": "custom", "class": "tests.tokcom_core.pictures:Pictures", "images": 2},
        systems={"taichi": settings},
        methods=["taichi"],
        tokens={"terminal": 576},
        evaluation={"questions": 2},
    )
    found = run_here(study, tmp_path / "out").set_index("method")
    assert (found["status"] == "ok").all(), found["reason"].tolist()
    begins = name == "gemma-2b"
    words = [len(text.split()) for text in QUESTIONS[:2]]
    assert found.loc["taichi", "tokens_total"] == 576 + begins + sum(words) / 2
    published_gmac = 191.1 * 23 / 24 + 70.2  # CLIP's without its last layer, and ConvNeXt's
    assert found.loc["taichi", "device_gflop"] == pytest.approx(2 * published_gmac, rel=0.1)
