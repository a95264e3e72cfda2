"""The worked example of docs/extending.md: a task, an encoder and a system from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest
import torch
import yaml
from torch import Tensor

from studies import load
from studies.plan.cells import Plan
from studies.plan.study import Study
from tokcom_core.datasets.samples import Samples
from tokcom_core.encoders import MediaEncoder
from tokcom_core.features import Sliding, write_features
from tokcom_core.systems.mlms import Mlms

from .small import small_study

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as a user has it, and its study run by the commands that stand there."""
    folder = tmp_path_factory.mktemp("beacons")
    (folder / "beacons.py").write_text("\n".join(_blocks("python")))
    (study,) = _blocks("yaml")
    (folder / "beacons.yaml").write_text(study)
    return folder


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_task_an_encoder_and_a_system_from_outside_reach_a_table(folder: Path) -> None:
    (shell,) = _blocks("bash")
    for line in shell.strip().splitlines():
        program, rest = line.split(" ", 1)
        if program == "python":
            _run(folder, "-c", rest.removeprefix("-c ").strip('"'))
        else:
            shown = _run(folder, "-m", "studies.cli", *rest.split())
            if "plan" in rest:
                assert "imports the code of: beacons" in shown
                assert re.search(r"pretraining +2 cells +1", shown)
                assert re.search(r"adaptation +2 cells +2", shown)
    out = folder / "studies_out" / "beacons"
    table = pd.read_parquet(out / "results")
    assert set(table["air"]) == {"awgn", "rayleigh"}
    assert (table["status"] == "ok").all()
    assert {"tokens_left", "tokens_right", "accuracy_empty", "accuracy_occupied"} <= set(table)
    assert (table["uplink_channel_uses"] == 2 * 4 * 2).all()
    best = table[(table["air"] == "awgn") & (table["eval_snr_db"] == 10)]
    assert (best["accuracy_low"] > best["majority_accuracy"]).all()
    curves = pd.read_parquet(out / "curves")
    assert curves["phase"].unique().tolist() == ["pretraining", "adaptation", "task"]
    detection = curves[curves["phase"] == "pretraining"].groupby("cell")["detection"]
    assert detection.last().lt(detection.first()).all()
    devices = pd.read_parquet(out / "devices")
    assert set(devices["device"]) == {"left", "right"}
    assert set(devices["modality"]) == {"radar"}


def test_a_system_from_outside_has_a_smoke_test(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    study = load(folder / "beacons.yaml", ["scale=smoke"])
    (method,) = study.methods
    assert study.system(method).model_dump()["steps"] == 2


def test_what_a_system_from_outside_goes_without_stays_out_of_its_smoke_test() -> None:
    path = "tokcom_core.systems.mlms:Mlms"
    own = {"system": "custom", "class": path, "label": "mine", "alignment": "none"}
    for scale in ("full", "smoke"):
        study = Study(name="s", scale=scale, methods=[own])
        system = study.system(study.methods[0])
        assert isinstance(system, Mlms)
        assert system.alignment.losses == "none"
    assert system.fine_tuning.steps == 2


TASK = 'phase(name="task", losses=("task",))'
SLIPS = {
    "class Beacons(Task):": {
        "class Beacons(Task:": r"class 'slip\d+:Beacons': SyntaxError in slip\d+\.py, line \d+: ",
        "import nump\nclass Beacons(Task):": r"slip\d+\.py, line \d+: No module named 'nump'$",
        "unknown\nclass Beacons(Task):": r"NameError in slip\d+\.py, line \d+: name 'unknown'",
    },
    "    steps: int = 200": {
        "    steps = 200": r"PydanticUserError in slip\d+\.py, line \d+: .*annot.*`steps = 200`",
        "    steps: int = 0": "a training of 0 steps should have at least one$",
        "    steps: int = 200\n    transport: str = ''": "Radars has the field 'transport'",
    },
    "    def shape(self)": {
        "    def shaped(self)": r"Radars\.features\(\): TypeError in slip\d+\.py, line \d+: .*Sw",
    },
    "return tuple(\n            Stream(": {
        "tuple(\n            Stream(": r"\.streams\(\) should give a tuple of Stream, gave None$",
    },
    "name=side,": {"name='s',": "has the name 's' twice"},
    "symbols_per_token=2": {
        "symbols_per_token=0": "has symbols_per_token 0 of 'left'; take 1 or more$",
    },
    "-> tuple[str, ...]:\n        return SIDES\n\n    def phases": {
        f"-> tuple[str, ...]:\n        return {found}\n\n    def phases": complaint
        for found, complaint in {
            "('up',)": "names an unknown stream 'up'; take some of left, right$",
            "'left'": "should give a tuple of names, gave 'left'$",
        }.items()
    },
    "StreamInput(side, task.train_split)": {
        "StreamInput(side + 'x', task.train_split)": "phases.. names an unknown stream 'leftx'",
        "StreamInput(side, 'training')": "unknown split 'training'; take some of train, val, test$",
    },
    TASK: {
        TASK.replace("task", "adaptation", 1): r"phases\(\) has the name 'adaptation' twice",
        TASK.replace('("task",)', '"task"'): "a tuple of names as losses of 'task', gave 'task'$",
    },
    "        return (\n            phase": {
        "        return ()\n        return (\n            phase": "a tuple of Phase, gave \\(\\)$",
    },
    '2e-2, "linear"': {"2e-2, 'cosin'": "no schedule 'cosin'; take some of cosine_with_min_lr"},
    "        files = [root": {
        "        raise KeyError('x')\n        files = [root": (
            r"Beacons\.identity\(\): KeyError in slip\d+\.py, line \d+: 'x'$"
        ),
    },
}
"""Slips by the code of the example that they stand in the place of, each with the complaint."""


@pytest.mark.parametrize(
    ("right", "wrong", "complaint"),
    [(right, wrong, said) for right, slips in SLIPS.items() for wrong, said in slips.items()],
)
def test_a_slip_in_a_class_from_outside_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, right: str, wrong: str, complaint: str
) -> None:
    code, (study,) = "\n".join(_blocks("python")), _blocks("yaml")
    assert right in code
    name = f"slip{len([*folder.glob('slip*.py')])}"
    (folder / f"{name}.py").write_text(code.replace(right, wrong))
    (folder / f"{name}.yaml").write_text(study.replace("beacons:", f"{name}:"))
    (folder / "data").mkdir(exist_ok=True)
    for split in ("train", "val", "test"):
        (folder / "data" / f"{split}.json").touch()
    monkeypatch.syspath_prepend(folder)
    with pytest.raises(ValueError, match=complaint) as refusal:
        Plan(load(folder / f"{name}.yaml"))
    assert "\n" not in str(refusal.value)


def test_an_unknown_key_of_a_system_from_outside_has_a_suggestion() -> None:
    own = {"system": "custom", "class": "tokcom_core.systems.mlms:Mlms", "question_token": 3}
    with pytest.raises(ValueError, match="did you mean 'question_tokens'"):
        Study(name="s", methods=[{**own, "label": "mine"}])


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("./file.py:Class", r"class './file\.py:Class' should be package\.module:Class"),
        (None, "a system 'custom' needs class: package.module:Class"),
    ],
)
def test_a_class_is_named_by_its_module(path: str | None, complaint: str) -> None:
    named = {} if path is None else {"class": path}
    with pytest.raises(ValueError, match=complaint):
        Study(name="s", methods=[{"system": "custom", "label": "mine", **named}])


def test_a_codec_from_outside_stands_beside_aligned(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (code,) = _blocks("py")
    (folder / "mine.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    (methods,) = re.findall(r"`(methods: \[aligned, .*\])`", DOCS.read_text())
    study, lengths = small_study(**yaml.safe_load(methods)), {"audio": 4, "vision": 4}
    Plan(study)
    aligned, mine = (study.system(method) for method in study.methods)
    assert mine.streams(study.task, lengths) == aligned.streams(study.task, lengths)
    write_features(tmp_path, _Ones(), tmp_path.joinpath, ["a"], Sliding(counts=(4,)))
    sides = [
        system.transmitter(study.task, "audio", lengths, {"audio": {"test": tmp_path}}, "cpu")
        for system in (aligned, mine)
    ]
    columns = dict.fromkeys(("sample_id", "media_id", "group", "answer"), ("a", "a"))
    samples = Samples(columns)
    sent = [side("audio", *side.read("audio", "test", samples)) for side in sides]
    assert sent[0][0].shape == sent[1][0].shape
    assert [len(side.trainable("alignment")) for side in sides] == [2, 4]


class _Ones(MediaEncoder):
    name, length, width, summary_tokens = "ones", 8, 6, 0

    def read(self, file: Path) -> Tensor:
        return torch.ones(1, 8, 6)

    def encode(self, clips: Sequence[Tensor]) -> list[Tensor]:
        return [*clips]


class Mine(Mlms):
    name: Literal["mine"] = "mine"  # type: ignore[assignment]


def test_methods_may_be_systems_themselves() -> None:
    mine = Mine(question_tokens=7)
    study = Study(name="s", methods=[mine, Mlms(), "aligned"])
    assert [method.label for method in study.methods] == ["mine", "mlms", "aligned"]
    assert [study.system(method) for method in study.methods[:2]] == [mine, Mlms()]
    assert Study.model_validate(study.model_dump(mode="json")) == study
