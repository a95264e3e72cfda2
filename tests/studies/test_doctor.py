"""``tokcom doctor``: what is missing, what that costs, how to fix it, and whether it matters."""

from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import drjit
import pytest
import ray
import torch
from huggingface_hub import constants

from studies.cli.main import main
from studies.doctor import installation, limits, machine
from tests.backends import pretend_llvm
from tokcom_core.checkpoints import pocket_folder

from .small import write_study

Rows = dict[str, list[str]]
"""Cells of each row by its subject: verdict, what is here, what it costs, how to fix it."""


@pytest.fixture
def doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, Rows]]:
    """Runs the command in a home of its own; returns exit code and rows."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, Rows]:
        monkeypatch.setattr(sys, "argv", ["tokcom", "doctor", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        header, _, *lines = capsys.readouterr().out.strip("\n").splitlines()[:-1]
        titles = ("what  ", "here  ", "what it costs", "how to fix it")
        edges = [0, *(header.index(title) for title in titles), len(header)]
        cells = [[line[a:b].strip() for a, b in pairwise(edges)] for line in lines]
        return int(end.value.code or 0), {subject: [ok, *rest] for ok, subject, *rest in cells}

    return run


def test_everything_is_shown_and_ray_is_not_started(
    doctor: Callable[..., tuple[int, Rows]],
) -> None:
    running = ray.is_initialized()
    code, rows = doctor()
    assert code == 0
    assert rows["torch"][:2] == ["ok", version("torch")]
    assert rows["pocket checkpoints"][:2] == ["ok", "9 in the package"]
    assert set(rows) >= {
        *("Python", "ray", "sionna", "transformers", "peft", "diffusers", "tensorflow"),
        *("GPU", "CPUs", "memory", "ray tracing", "Sionna 1.x, isolated", "open files"),
        *("disk, this folder", "disk, Ray's folder", "/dev/shm"),
    }
    assert all(bool(cost) == (ok == "optional") for ok, _, cost, _ in rows.values())
    assert ray.is_initialized() is running


def test_what_is_optional_is_no_error(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def installed(name: str) -> str:
        if name in ("diffusers", "virtualenv", "optuna", "scikit-learn", "mlflow"):
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(installation, "version", installed)
    pretend_llvm(monkeypatch, 15)
    code, rows = doctor()
    assert code == 0
    remedy = 'pip install "tokcom[diffusion]"'
    assert rows["diffusers"] == ["optional", "not installed", "tokcom draw", remedy]
    assert rows["optuna"][3] == 'pip install "tokcom[search]"'
    assert rows["scikit-learn"][3] == 'pip install "tokcom[tsne]"'
    assert rows["mlflow"] == ["optional", "not installed", "loggers: mlflow", "pip install mlflow"]
    assert rows["Sionna 1.x, isolated"][3] == "pip install virtualenv"
    ok, here, cost, remedy = rows["ray tracing"]
    assert (ok, here) == ("optional", "neither a GPU nor LLVM 16 or newer")
    assert "munich" in cost
    assert "libllvm19" in remedy


def test_a_package_that_does_not_fit_is_an_error(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"transformers": "4.1", "scipy": None}

    def installed(name: str) -> str:
        found = old.get(name, version(name))
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(installation, "version", installed)
    code, rows = doctor("quickstart")
    assert code == 1
    assert rows["transformers"][:2] == ["missing", "4.1, not >=5.23"]
    assert rows["transformers"][3] == 'pip install "transformers>=5.23"'
    assert rows["scipy"][:2] == ["missing", "not installed"]
    assert rows["torch"][0] == rows["study"][0] == "ok"


def test_what_cannot_be_imported_ends_the_table(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "studies.doctor.needs", None)
    code, rows = doctor("quickstart")
    assert rows["all else"][0] == "missing"
    assert "import of studies.doctor.needs halted" in rows["all else"][1]
    assert code == 1


def test_limits_of_the_machine_are_seen(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path)
    monkeypatch.setattr(limits, "_OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setattr(machine, "cpu_count", lambda: 3)
    monkeypatch.setattr(machine, "_SHARED_MEMORY", tmp_path / "nowhere")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 1024))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr("os.access", lambda place, _: Path(place) != tmp_path)
    (tmp_path / "own").write_text("1:cpu:/elsewhere\n0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "memory.max").write_text("5000000000\n")
    code, rows = doctor()
    assert rows["CPUs"][:2] == ["ok", "3 of 8, by the container's limit"]
    assert rows["memory"][1] == "5.0 GB"
    assert rows["memory"][3] == "--set resources.cpu=2"
    assert "--shm-size=2g" in rows[str(tmp_path / "nowhere")][3]
    assert rows["open files"][3] == "ulimit -n 8192"
    assert rows["disk, this folder"][0] == "ok"
    assert rows["disk, Ray's folder"][:2] == ["missing", f"{tmp_path} cannot be written"]
    assert code == 1


def test_memory_is_that_of_the_trials_that_a_study_runs_at_once(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of trials that take two CPUs each, there are four at once on eight."""
    monkeypatch.setattr(machine, "cpu_count", lambda: 8)
    monkeypatch.setattr(machine, "memory_bytes", lambda: 11e9)
    remedies = {}
    for cpus in (1, 2, 4):
        _, rows = doctor("quickstart", "--set", f"resources.cpu={cpus}")
        remedies[cpus] = rows["memory"][3]
    assert remedies == {1: "--set resources.cpu=2", 2: "", 4: ""}


def test_a_folder_that_may_not_be_searched_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root may search any, so that the system's own refusal is imitated."""
    locked, stat = tmp_path / "locked", os.stat
    locked.mkdir()

    def refusing(path: Any, **keys: Any) -> os.stat_result:
        if locked in Path(os.fspath(path)).parents:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, **keys)

    monkeypatch.setattr(os, "stat", refusing)
    monkeypatch.setattr(os, "access", lambda place, _: Path(place) != locked)
    monkeypatch.setenv("RAY_TMPDIR", str(locked / "in"))
    (found,) = (own for own in machine.machine_findings() if own.subject == "disk, Ray's folder")
    assert found.fails and found.found == f"{locked} cannot be written"


def test_limits_of_older_containers_are_seen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(limits, "_CGROUPS", tmp_path)
    monkeypatch.setattr(limits, "_OWN_CGROUP", tmp_path / "own")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text("1000000")
    assert limits.memory_bytes() == 1_000_000


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="Card", total_memory=80e9)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


@pytest.mark.usefixtures("two_gpus")
def test_gpus_are_counted(doctor: Callable[..., tuple[int, Rows]]) -> None:
    code, rows = doctor("quickstart", "--set", "resources.gpu=3")
    assert rows["GPU"][:2] == ["ok", "2 x Card, 80.0 GB; bfloat16"]
    assert rows["device"][:2] == ["missing", "resources.gpu 3, but this machine has 2 GPUs"]
    assert code == 1
    code, rows = doctor("quickstart", "--set", "resources.gpu=2")
    assert rows["device"][:2] == ["ok", "cuda; a trial takes cpu: 1, gpu: 2"]
    assert code == 0


@pytest.mark.usefixtures("two_gpus")
def test_a_missing_checkpoint_hides_no_missing_gpu(doctor: Callable[..., tuple[int, Rows]]) -> None:
    lacking = ("--set", "systems.mlms.models.language=nobody/none", "--set", "resources.gpu=3")
    _, rows = doctor("quickstart", *lacking)
    assert rows["language nobody/none"][0] == "missing"
    assert rows["device"][1] == "resources.gpu 3, but this machine has 2 GPUs"


@pytest.mark.usefixtures("two_gpus")
def test_a_trial_without_a_gpu_of_its_own_is_said_to_take_the_cpu(
    doctor: Callable[..., tuple[int, Rows]],
) -> None:
    _, rows = doctor("quickstart")
    assert rows["device"][:2] == ["ok", "cpu; a trial takes cpu: 1, gpu: 0"]


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (("device=cuda:1", "resources.gpu=1"), "device cuda:1: Ray chooses the GPUs"),
        (("device=cuda",), "device cuda, but resources.gpu 0 reserves none"),
        (
            ("device=cuda", "engine=ray", "resources.gpu=1"),
            "device cuda, but resources.device_gpu 0 reserves none",
        ),
        (
            ("engine=ray", "resources={gpu: 1.5, device_gpu: 0.25}"),
            "resources.gpu 1.5 and resources.device_gpu 0.25 of 3 devices, but this machine has 2",
        ),
    ],
)
def test_gpus_that_nobody_gets_are_told(
    doctor: Callable[..., tuple[int, Rows]], settings: tuple[str, ...], found: str
) -> None:
    code, rows = doctor("quickstart", *(part for own in settings for part in ("--set", own)))
    assert rows["device"][0] == "missing"
    assert rows["device"][1].startswith(found)
    assert code == 1


def _cache(folder: Path, *left_out: str) -> None:
    """Puts the pocket language model into the cache as ``nobody/pocket``."""
    model, commit = folder / "models--nobody--pocket", "0" * 40
    ignored = shutil.ignore_patterns(*left_out)
    language = pocket_folder() / "language"
    shutil.copytree(language, model / "snapshots" / commit, ignore=ignored, dirs_exist_ok=True)
    (model / "refs").mkdir(exist_ok=True)
    (model / "refs" / "main").write_text(commit)


def test_named_checkpoints_are_looked_for(
    doctor: Callable[..., tuple[int, Rows]], tmp_path: Path
) -> None:
    _, rows = doctor("quickstart", "--set", f"systems.mlms.models.audio={tmp_path}")
    ok, here, _, remedy = rows[f"audio {tmp_path}"]
    assert (ok, "it should hold a config.json" in here) == ("missing", True)
    assert "save_pretrained" in remedy
    override = "systems.mlms.models.language=nobody/pocket"
    code, rows = doctor("quickstart", "--set", override)
    assert code == 1
    missing = rows["language nobody/pocket"]
    assert missing[0] == "missing"
    assert "HF_HUB_OFFLINE is set" in missing[1]
    assert missing[3] == "hf download nobody/pocket, where the Hub can be reached"
    assert rows["audio pocket"][:2] == ["ok", "in the package"]
    assert "study" not in rows
    _cache(tmp_path / "cache", "*.safetensors")
    code, rows = doctor("quickstart", "--set", override)
    assert "no file of weights" in rows["language nobody/pocket"][1]
    assert code == 1
    _cache(tmp_path / "cache")
    code, rows = doctor("quickstart", "--set", override)
    assert rows["language nobody/pocket"][:2] == ["ok", "in the Hugging Face cache"]
    assert rows["study"][0] == "ok"
    assert code == 0


def test_a_study_needs_its_data(
    doctor: Callable[..., tuple[int, Rows]], minimusic: Path, tmp_path: Path
) -> None:
    file = write_study(tmp_path / "s.yaml", data={"folder": str(minimusic)})
    code, rows = doctor(file)
    assert rows["data, align"][:2] == ["ok", "24 samples, 24 of 24 media"]
    assert rows["study"][0] == "ok"
    assert code == 0
    root = tmp_path / "data"
    for source in minimusic.rglob("annotation"):
        shutil.copytree(source, root / source.relative_to(minimusic))
    code, rows = doctor(file, "--set", f"data.folder={root}")
    assert rows["data, test"][:2] == ["missing", "42 samples, 0 of 7 media"]
    assert rows["data, test"][3] == f"tokcom data check {root}"
    assert code == 1
    next(root.rglob("avqa-val.json")).unlink()
    _, rows = doctor(file, "--set", f"data.folder={root}")
    assert "no annotation file" in rows["data, val"][1]
    code, rows = doctor(file, "--set", "data.folder=/nowhere")
    assert (code, rows["data"][1]) == (1, "no folder /nowhere")


def test_a_study_needs_what_its_airs_and_lengths_need(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drjit, "has_backend", lambda _: False)
    code, rows = doctor("quickstart", "--set", "airs=[munich, umi]")
    assert code == 1
    ok, here, _, remedy = rows["air munich"]
    assert (ok, here) == ("missing", "ray tracing on a CPU needs LLVM 16 or newer")
    assert remedy.startswith("install libllvm19")
    assert rows["air umi"][0] == "ok"
    code, rows = doctor("quickstart", "--set", "tokens={audio: 999, vision: 4}")
    assert rows["study"][:2] == [
        "missing",
        "tokens.audio 999 is beyond the encoder's 50 tokens",
    ]
    assert code == 1


def test_modules_of_ones_own_are_named(
    doctor: Callable[..., tuple[int, Rows]], my_airs: Path
) -> None:
    own = "airs=[{name: custom, class: 'my_airs:Nakagami', m: 2.0}]"
    code, rows = doctor("quickstart", "--set", own)
    assert rows["module my_airs"][:2] == ["ok", str(my_airs / "my_airs.py")]
    assert code == 0


def test_loggers_of_a_study_are_needed(
    doctor: Callable[..., tuple[int, Rows]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "studies.plan.loggers.find_spec", lambda name: None if name == "mlflow" else name
    )
    code, rows = doctor("quickstart", "--set", "loggers=[mlflow, tensorboard]")
    assert rows["logger mlflow"][:2] == ["missing", "loggers: mlflow is not installed"]
    assert rows["logger mlflow"][3] == "pip install mlflow"
    assert rows["logger tensorboard"][:2] == ["ok", "tensorboardX is installed"]
    assert code == 1


def test_settings_without_a_study_are_refused(refused: Callable[..., str]) -> None:
    assert "name one: tokcom doctor STUDY" in refused("doctor", "--set", "seeds=[0]")
    assert "no study nothing" in refused("doctor", "nothing")
