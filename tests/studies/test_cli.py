"""The command: a user's mistake is one line and exit code 2, and nothing is lost."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import matplotlib.pyplot as plt
import pytest

from actors import EmulationConfig
from channel_models.checks import Check
from channel_models.sources.trace import read_trace
from studies import Study, load, presets
from studies.cli import main, options, running
from studies.figures.printed import STYLES
from studies.plan.search import Search
from studies.storage.folder import StudyFolder
from studies.tables.allocation import Policy
from tests.backends import pretend_llvm
from tokcom_core.datasets.layout import MUSIC_AVQA, annotation_file, video_file
from tokcom_core.datasets.minimusic.write import write_minimusic

from .conftest import tokcom


def _one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        (
            "bandwidth_hz=-1",
            "tokcom: --set bandwidth_hz=-1: bandwidth_hz.0 should be above 0 (got -1)",
        ),
        ("digital.mcs=40", "--set digital.mcs=40: digital: mcs 40 has no table"),
        ("device=gpu7", "no device 'gpu7'; take auto, cpu or cuda"),
        (
            "data={miniclevr: {}}",
            "data.miniclevr has nothing of task 'avqa'; take data: {minimusic",
        ),
        ("data.folder=/x", 'not 2 of them: --set "data={folder: /x}"'),
        ("methods=[magic]", "no method 'magic'"),
        ("tokens={audio: 999, vision: 4}", "beyond the encoder's 50 tokens"),
        ("data={folder: /nowhere}", "no data folder /nowhere"),
        ("finetuning=1", "--set finetuning=1: no key 'finetuning'; take some of name"),
        (
            "systems.taichi.order=image-first",
            "no method of quickstart has the system 'taichi'; its systems are: mlms",
        ),
        (
            "systems.mlms.finetuning.steps=1",
            "no key 'systems.mlms.finetuning'; did you mean 'fine_tuning'?",
        ),
        ("fine_tuning.steps=1", "no key 'fine_tuning'; did you mean 'systems.mlms.fine_tuning'?"),
        ("systems.mlms.models.audio=./nowhere", "no checkpoint in /"),
        (
            "systems.mlms.alignment=none",
            "changes nothing, since each method sets alignment itself; set it there, such as "
            "methods: [{name: ..., alignment: none}]",
        ),
    ],
)
def test_mistakes_in_a_study(
    override: str, complaint: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    said = refused("study", "run", "quickstart", "--out", out, "--set", override)
    assert complaint in said
    assert not out.exists()


def test_a_study_file_that_is_not_yaml(tmp_path: Path, refused: Callable[..., str]) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("name: [")
    assert "is not proper YAML" in _one_line(tokcom("study", "plan", file))
    assert "no study in" in refused("study", "resume", tmp_path)
    assert "no zoo in" in refused("zoo", "show", tmp_path)
    assert "no world 'x'; take some of minimusic, miniclevr" in refused(
        "zoo", "build", tmp_path, "--world", "x"
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["emulate", "--users", "many"], "Invalid value for '--users'"),
        (["emulate", "--users", "0"], "tokcom: --users 0: emulate.users.0 should be at least 1"),
        (["emulate", "--air", "foo"], "tokcom: --air foo: airs.0: no air 'foo'"),
        (["study", "rnu"], "No such command 'rnu'"),
        (["study", "report", "x", "--style", "acm"], "'acm' is not one of 'ieee'"),
        (
            ["study", "search", "x", "--method", "m", "--over", "a=[1,2]", "--by", "luck"],
            "'luck' is not one of 'random', 'optuna'",
        ),
        (["study", "run"], "Missing argument"),
        (["data", "minimusic", "x", "--clips", "3"], "greater than or equal to 12"),
        (["data", "miniclevr", "x", "--images", "3"], "greater than or equal to 25"),
        (["study", "run", "a", "b"], "extra argument"),
    ],
)
def test_mistakes_on_the_line(
    arguments: list[str], complaint: str, refused: Callable[..., str]
) -> None:
    assert complaint in refused(*arguments)


@pytest.mark.parametrize(
    ("choices", "known"),
    [
        (options.AllocationPolicy, get_args(Policy)),
        (options.Scheduler, get_args(EmulationConfig.model_fields["scheduler"].annotation)),
        (options.SearchAlgorithm, get_args(Search.model_fields["by"].annotation)),
        (options.FigureStyle, tuple(STYLES)),
    ],
)
def test_choices_on_the_line_are_those_of_the_package(
    choices: object, known: tuple[str, ...]
) -> None:
    assert get_args(choices) == known


def test_the_version_is_said_without_loading_anything_heavy() -> None:
    heavy = "import sys, studies.cli; sys.argv[1:] = ['--version']\ntry:\n    studies.cli.main()\n"
    heavy += "finally:\n    assert not {'torch', 'ray', 'sionna'} & set(sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", heavy], capture_output=True, text=True, timeout=300, check=True
    )
    assert done.stdout.strip() == f"tokcom {version('tokcom')}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["study", "run", "quickstart", "--out", "{}/a"],
        ["study", "run", "quickstart", "--out", "{}"],
        ["data", "minimusic", "{}/a", "--clips", "25"],
        ["air", "plot", "awgn", "--out", "{}/a.png"],
        ["air", "record", "rayleigh", "{}/a.parquet", "--count", "1"],
    ],
)
def test_a_place_below_a_file_is_refused(
    arguments: list[str], tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    said = refused(*(a.format(file) for a in arguments))
    assert said.startswith(f"tokcom: {file}")
    assert said.endswith("choose another place")
    assert file.read_text() == "mine"


def test_options_of_emulate_are_keys_of_its_study(
    monkeypatch: pytest.MonkeyPatch, shown: Callable[..., str]
) -> None:
    ran: list[Study] = []
    monkeypatch.setattr(running, "run_and_print", lambda study, out, address: ran.append(study))
    usual = ("--users", 7, "--air", "inh", "--duration", 3, "--rate", 0.5)
    shown("emulate", *usual, "--scheduler", "max-sinr", "--train")
    shown("emulate", *usual)
    (config, plain) = (study.emulate.each[0] for study in ran if study.emulate is not None)
    assert (config.users, config.duration_s, config.questions_per_s) == (7, 3.0, 0.5)
    assert (config.scheduler, config.trains) == ("max-sinr", True)
    assert (plain.scheduler, plain.trains) == ("proportional-fair", False)
    assert [air.label for air in ran[0].airs] == ["inh"]


def test_airs_are_listed_recorded_and_drawn(tmp_path: Path, shown: Callable[..., str]) -> None:
    listed = shown("air", "list")
    assert "An air of your own, see docs/own_air.md.  class, and" in re.sub(" {2,}", "  ", listed)
    assert all(name in listed for name in ("rayleigh", "umi", "munich", "custom"))
    recorded, drawn = tmp_path / "rayleigh.parquet", tmp_path / "rayleigh.png"
    names = ("--devices", "vision,audio")
    assert str(recorded) in shown("air", "record", "rayleigh", recorded, "--count", 5, *names)
    trace = read_trace(recorded)
    assert len(trace.gains) == 2 * 5
    assert list(trace.senders) == ["vision"] * 5 + ["audio"] * 5
    assert str(drawn) in shown("air", "plot", "rayleigh", "--out", drawn)
    assert plt.imread(drawn).std() > 0


@pytest.mark.parametrize(("measured", "code"), [(1.0, 0), (3.0, 1)])
def test_a_check_of_airs_that_fails_is_an_exit_code(
    measured: float, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Check("doppler", "power", 0.0, "", own, 1.0, 0.5) for own in (1.2, measured)]
    monkeypatch.setattr("channel_models.checks.run_checks", lambda subject: iter(found))
    monkeypatch.setattr(sys, "argv", ["tokcom", "air", "check", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"checks.parquet", "checks.png"}


def test_settings_of_airs_are_suggested(refused: Callable[..., str]) -> None:
    said = refused("air", "plot", "rician", "--set", "k_factor=3")
    assert "no key 'rician.k_factor'; did you mean 'k_factor_db'?" in said
    said = refused("air", "plot", "awgn", "--link", "antenas=2")
    assert "--link: no key 'antenas'; did you mean 'antennas'?" in said
    assert "tokcom: no air 'magic'" in refused("air", "plot", "magic")


def test_settings_without_effect_are_not_recorded(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    file = tmp_path / "trace.parquet"
    said = refused("air", "record", "rayleigh", file, "--set", "interpolation=lmmse")
    assert "air rayleigh takes no interpolation: csi perfect estimates nothing" in said
    assert not file.exists()


def test_a_site_is_refused_before_data_are_made_where_nothing_can_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    pretend_llvm(monkeypatch, 15)
    monkeypatch.setattr("studies.execution.run.start_ray", lambda *_: False)
    out = tmp_path / "out"
    said = refused("study", "run", "quickstart", "--out", out, "--set", "airs=munich")
    assert "needs LLVM 16 or newer; install libllvm19" in said
    assert not out.exists()
    assert "needs LLVM 16" in refused("air", "plot", "munich", "--out", tmp_path / "a.png")


def test_plan_shows_cells_phases_and_airtime(shown: Callable[..., str]) -> None:
    plan = shown("study", "plan", "quickstart")
    for word in ("20 cells", "alignment", "fine-tuning", "airtime", "symbols", "paired difference"):
        assert word in plan
    assert "quickstart" in shown("study", "list")
    known = shown("zoo", "show")
    assert all(kind in known for kind in ("vision", "convnext"))


def test_plan_counts_the_questions_of_a_folder_and_says_where_it_cannot(
    minimusic: Path, shown: Callable[..., str]
) -> None:
    asked = json.loads(annotation_file(minimusic / MUSIC_AVQA, "avqa", "test").read_text())
    data, every = f"data={{folder: {minimusic}}}", ("--set", "evaluation.questions=null")
    for more in (every, ("--set", f"evaluation.questions={10 * len(asked)}")):
        plan = shown("study", "plan", "quickstart", *more, "--set", data)
        counts = re.findall(r"^ +2 +(\d+) +± ", plan, re.MULTILINE)
        assert counts[0] == str(len(asked))
    said = " ".join(shown("study", "plan", "quickstart", *every).split())
    assert "expected precision: set evaluation.questions; without it" in said
    assert "paired difference" not in said


def test_plan_says_what_a_finer_comparison_takes(shown: Callable[..., str]) -> None:
    """Three seeds of 800 questions give ± .043; users of an emulation ask 3,000 x .1 x 2 s."""
    sizes = ("--set", "evaluation.questions=800", "--set", "seeds=[0, 1, 2]")
    rows = re.findall(
        r"^ +(\d+) +([\d,]+) +± (\S+)", shown("study", "plan", "quickstart", *sizes), re.MULTILINE
    )
    found = [(int(seeds), int(asked.replace(",", "")), half) for seeds, asked, half in rows]
    assert found[0] == (3, 800, ".043")
    (*_, half), (*_, fine) = found[-2:]
    assert (half, fine) == (".022", ".010")
    assert all(asked > 800 and seeds > 3 for seeds, asked, _ in found[-2:])
    keys = ("emulate.users=3000", "emulate.questions_per_s=0.1", "emulate.duration_s=2")
    plan = shown("study", "plan", "emulate", *(word for key in keys for word in ("--set", key)))
    assert re.search(r"^ +\d+ +600 +± ", plan, re.MULTILINE)
    assert "repeats make nothing more precise" in " ".join(plan.split())


@pytest.mark.parametrize("name", [name for name in presets() if name.startswith("taichi")])
def test_taichis_presets_can_be_planned(name: str, shown: Callable[..., str]) -> None:
    plan = shown("study", "plan", name)
    assert "frozen tokens" in plan
    assert "inf" in plan if name == "taichi-table3" else "-6 to 18" in plan


def test_a_truncated_clip_is_one_line_and_the_others_are_prepared(
    tmp_path: Path, refused: Callable[..., str]
) -> None:
    plans = write_minimusic(tmp_path, 25, 0)
    plan = next(p for p in plans if p.dataset == MUSIC_AVQA)
    video = video_file(tmp_path / plan.dataset, plan.video_id)
    video.write_bytes(video.read_bytes()[:2000])
    done = tokcom("data", "prepare", tmp_path)
    assert f"1 damaged clips were skipped: {video.name}" in _one_line(done)
    assert "24 clips extracted" in done.stdout
    nowhere = tokcom("data", "prepare", tmp_path / "nowhere")
    assert "no folder" in _one_line(nowhere)
    assert not nowhere.stdout
    assert "another MiniMUSIC" in refused("data", "minimusic", tmp_path, "--clips", "30")


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EACCES, 2)])
def test_only_a_full_disk_stops_a_begun_study_as_work_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fails(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/out/results")

    StudyFolder(tmp_path).begin(load("quickstart"))
    monkeypatch.setattr("studies.execution.run.run_study", fails)
    monkeypatch.setattr(sys, "argv", ["tokcom", "study", "resume", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.ENOENT, 2)])
def test_a_full_disk_is_no_mistake_of_the_users(
    monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fails(**_: object) -> None:
        raise OSError(number, os.strerror(number), "/out/search.parquet")

    monkeypatch.setattr(sys.modules[main.__module__], "app", fails)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
