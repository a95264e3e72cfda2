"""Paper 1's tokens beside TaiChi's and the picture's own file, on the same questions."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from channel_models.digital.harq import FILE_PACKET_BITS
from studies import load
from studies.execution.data import check_data
from studies.plan.budgets import operations_of_longest
from studies.plan.cells import Plan
from studies.plan.operations import served_streams
from studies.plan.study import Study
from studies.tables import costs
from studies.tables.costs import NetworkSizes, network_columns
from studies.tables.layout import layout_of
from tokcom_core.datasets.data import MiniClevr
from tokcom_core.datasets.miniclevr.write import write_miniclevr
from tokcom_core.datasets.samples import Samples
from tokcom_core.systems import Stream, devices_of, merged
from tokcom_core.tasks import Multitask
from tokcom_core.tasks.clevr import Clevr
from tokcom_core.tasks.reviews import Sst2

from ..tokcom_core.pictures import write_models
from .here import run_here

TASK = Multitask(tasks=(Clevr(), Sst2()))
"""Reviews have no image."""
_PHASE = {"steps": 2, "batch_size": 4}
_TAICHI = ("pretraining", "tuning", "codec_training", "coding_training", "reference_training")
QUESTIONS = 12


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("miniclevr")
    write_miniclevr(root, MiniClevr(images=40, jpeg_quality=75))
    return root


@pytest.fixture(scope="module")
def keys(world: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A small study of models that know the world's words, but nothing about them."""
    samples = [TASK.samples(world, split) for split in TASK.splits]
    columns = [own[c] for own in samples for c in TASK.texts]
    answers = [own.answer for own in samples]
    words = {word for column in columns + answers for text in column for word in text.split()}
    models = write_models(tmp_path_factory.mktemp("models"), sorted(words))
    own = {"language": models["language"], "image": models["low"], "receiver_width": 24}
    tuning = {"steps": 2, "reference_steps": 2, "batch_size": 8}
    return {
        "name": "overhead",
        "data": {"folder": str(world)},
        "task": {"name": "multitask", "tasks": ["clevr", "sst2"]},
        "systems": {
            "taichi": {"models": models, "transmitter_layers": 1, **dict.fromkeys(_TAICHI, _PHASE)},
            "mlms": {"models": own, "alignment": _PHASE, "fine_tuning": tuning},
        },
        "methods": ["aligned", "taichi", "digital", "raw-upload", "text-as-bytes"],
        "tokens": {"terminal": 9, "image": 4},
        "evaluation": {"questions": QUESTIONS, "batch_size": 8},
    }


@pytest.fixture(scope="module")
def out(keys: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out") / "out"


@pytest.fixture(scope="module")
def table(keys: dict[str, Any], out: Path) -> pd.DataFrame:
    return run_here(Study(**keys), out).set_index("method")


@pytest.fixture(scope="module")
def asked(world: Path) -> Samples:
    return TASK.samples(world, "test").take(range(QUESTIONS))


def test_from_image_files_to_the_table(table: pd.DataFrame, out: Path) -> None:
    """TaiChi and paper 1 share one store of CLIP's tokens, of which they take other numbers."""
    assert (table["status"] == "ok").all(), table["reason"].tolist()
    assert {"blind", "text-oracle", "aligned", "taichi"} <= set(table.index)
    curves = pd.read_parquet(out / "curves")
    assert curves.query("method == 'aligned' and phase == 'alignment'")["contrastive_image"].any()


def test_a_review_sends_no_image(table: pd.DataFrame, asked: Samples) -> None:
    """Each token is a half of the language model's 16 features in complex symbols."""
    words = sum(len(text.split()) for text in asked["instruction"])
    images = sum(not media_id.startswith("text:") for media_id in asked.media_id)
    assert 0 < images < QUESTIONS
    aligned = table.loc["aligned"]
    sent = 8 * (4 * images + words)
    assert aligned["uplink_channel_uses"] == pytest.approx(sent / QUESTIONS)
    assert 0 < aligned["device_gflop"] < 1
    assert 0 < aligned["bs_gflop"] < 1


def test_a_file_is_the_jpeg(table: pd.DataFrame, asked: Samples, world: Path) -> None:
    """In whole packets; the question's are its tokens, 8 bits a feature and 16 for their scale."""
    files = [world / media_id for media_id in asked.media_id if not media_id.startswith("text:")]
    assert {file.suffix for file in files} == {".jpg"}
    words = sum(len(text.split()) for text in asked["instruction"])
    packets = sum(math.ceil(8 * file.stat().st_size / FILE_PACKET_BITS) for file in files)
    sent = FILE_PACKET_BITS * packets + words * (16 * 8 + 16)
    upload = table.loc["raw-upload"]
    assert upload["payload_bits"] == pytest.approx(sent / QUESTIONS)
    assert upload["device_gflop"] == 0
    assert upload["bs_gflop"] > table.loc["aligned", "bs_gflop"]


def test_a_plan_counts_no_fewer_operations_than_the_rows(
    keys: dict[str, Any], table: pd.DataFrame
) -> None:
    """Those of the longest question, and at the base station also what files leave to encode."""
    plan = Plan(Study(**keys))
    for contender in plan.contenders:
        (budget,) = plan.budgets(contender)
        longest = operations_of_longest(plan.study, contender, budget.tokens)
        row = table.loc[contender.label]
        assert 0 < row["bs_gflop"] <= longest.station_gflop
        assert row["device_gflop"] <= sum(longest.device_gflop.values())
        assert (row["device_gflop"] > 0) == any(longest.device_gflop.values())


def test_a_study_need_not_say_more_than_its_methods(keys: dict[str, Any]) -> None:
    """Neither models nor token lengths: they are those of the task's media."""
    study = Study(name="s", data=keys["data"], task="clevr", methods=["aligned", "taichi"])
    assert study.tokens == ({"image": 16, "terminal": 36},)
    Plan(study)


def test_a_language_model_of_another_world_is_refused(keys: dict[str, Any], world: Path) -> None:
    """By the answers that it has no words for, before anything is trained."""
    other = {"systems": {"mlms": {"models": {"language": "pocket"}}}, "methods": ["aligned"]}
    study = Study(**merged({**keys, "tokens": {"image": 4}}, other))
    with pytest.raises(ValueError, match=r"cannot say .* set models.language of the system"):
        check_data(Plan(study), world)


def test_the_preset_compares_them_all() -> None:
    plan = Plan(load("taichi-overhead"))
    labels = [contender.label for contender in plan.contenders]
    own = ["taichi", "taichi-4", "aligned", "digital", "jpeg", "taichi-digital"]
    assert labels == ["blind", "text-oracle", *own]
    assert plan.study.data.miniclevr is not None
    assert plan.study.data.miniclevr.jpeg_quality == 75


def test_the_compute_of_a_system_is_that_of_its_own_devices() -> None:
    """Beside systems with other devices, whose columns its rows have as well."""
    study = Study(
        name="mixed",
        data={"miniclevr": {"images": 60}},
        task={"name": "multitask", "tasks": ["clevr", "imdb"]},
        methods=["taichi", "u-deepsc", "t-deepsc", "deepsc-vqa", "deepsc"],
        tokens={"terminal": 36},
    )
    devices = layout_of(study).devices
    assert set(devices) >= {"terminal", "image", "text"}
    for cell in Plan(study).known_cells({}):
        system, task = cell.system, cell.task
        own = devices_of(system.streams(task, cell.trained.tokens))
        windows = {
            d: dict.fromkeys(system.features(task, d, cell.trained.tokens), 1.0) for d in own
        }
        sizes = NetworkSizes(windows, dict.fromkeys(own, 10))
        sent = dict.fromkeys(system.served(task), 4.0)
        alone = network_columns(cell, sizes, sent)
        beside = network_columns(cell, sizes, {"of another system": 0.0, **sent})
        assert beside == alone
        assert beside["device_gflop"] > 0 or cell.reference is not None


@pytest.mark.parametrize("sends_scale", [False, True])
def test_gradients_of_power_scales_return_only_where_they_are_sent(sends_scale: bool) -> None:
    """For 4 tokens of 8 complex symbols: two values of 32 bits a symbol, and one a scale."""
    systems = {"taichi": {"codec": {"sends_scale": sends_scale}}}
    study = Study(
        name="s",
        data={"miniclevr": {}},
        task="clevr",
        methods=["taichi"],
        tokens={"terminal": 9},
        systems=systems,
    )
    cell = Plan(study).known_cells({})[-1]
    sizes = NetworkSizes({"terminal": {"low": 1.0, "high": 1.0}}, {"terminal": 10})
    columns = network_columns(cell, sizes, {"prompt": 4.0})
    assert columns["downlink_bits"] == 32 * (2 * 8 * 4 + sends_scale)


def test_no_gradient_returns_where_no_training_crosses_the_air() -> None:
    study = Study(
        name="s",
        data={"miniclevr": {}},
        task="clevr",
        methods=[{"name": "taichi", "coding": "none"}],
        systems={"taichi": {"codec": {"symbols_per_token": None}, "transmitter_layers": 0}},
        tokens={"terminal": 9},
    )
    cell = Plan(study).known_cells({})[-1]
    sizes = NetworkSizes({"terminal": {"low": 1.0, "high": 1.0}}, {"terminal": 10})
    assert network_columns(cell, sizes, {"prompt": 4.0})["downlink_bits"] == 0


def test_gradients_count_the_tokens_of_each_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a device that sends two; its operations count both."""
    study = Study(name="s", methods=["aligned"], tokens={"audio": 4, "vision": 4})
    cell = Plan(study).known_cells({})[-1]
    spoken = Stream(
        name="spoken",
        device="text",
        modality="text",
        max_tokens=8,
        symbols_per_token=1,
        text="question",
    )
    monkeypatch.setattr(costs, "served_streams", lambda *own: (*served_streams(*own), spoken))
    sizes = NetworkSizes({"audio": {"audio": 1.0}, "vision": {"vision": 1.0}}, {"text": 10})
    sent = {"audio": 4.0, "vision": 4.0, "question": 8.0, "spoken": 6.0}
    found = network_columns(cell, sizes, sent)
    assert found["downlink_bits"] == 32 * (2 * ((4 + 4 + 8) * 64 + 6 * 1) + 4)
