"""Whole studies: interrupted, resumed, on either engine, failing in part."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from actors import Evaluation, Network, PeerLostError
from studies.execution.finished import choose_learning_rates, forget_failures
from studies.execution.runner import SpecRunner
from studies.plan.cells import Plan
from studies.plan.specs import Cell
from studies.storage.folder import StudyFolder
from studies.tables.columns import WALL_CLOCK_COLUMNS
from studies.tables.layout import layout_of

from ..conftest import CLIPS, SEED, Disk
from .conftest import LIMIT_S, tokcom
from .here import run_here
from .small import mlms, small_keys, small_study

COMMAND = [sys.executable, "-m", "studies.cli", "study"]
METHODS = ["aligned", "digital", "raw-upload", "reconstruction", "unaligned"]
REFERENCES = ["blind", "text-oracle"]


def _table(out: Path) -> pd.DataFrame:
    table = pd.read_parquet(out / "results")
    dropped = [*WALL_CLOCK_COLUMNS, "config"]  # the config repeats what the other columns say
    table = table.drop(columns=dropped)
    return table.sort_values(["cell", "eval_snr_db"], ignore_index=True)


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


def test_every_cell_has_its_rows(finished: Path) -> None:
    shown = (finished / "shown.txt").read_text()
    assert "report.html" in shown
    assert re.search(r"^alignment: 12 of 12 in \d", shown, re.MULTILINE), shown
    assert re.search(r"^evaluation: 17 of 17 in \d", shown, re.MULTILINE), shown
    table = pd.read_parquet(finished / "results")
    rows = {**dict.fromkeys(METHODS, 2 + 2 + 1), **dict.fromkeys(REFERENCES, 1)}
    assert table.groupby("method").size().to_dict() == rows
    assert set(table["status"]) == {"ok"}
    ours = table[table["method"].isin(METHODS)]
    assert ours["blind_accuracy"].nunique() == ours["text_oracle_accuracy"].nunique() == 1
    assert (ours["accuracy_low"] <= ours["accuracy"]).all()
    assert (ours["tokens_audio"] == 4).all()
    assert (ours["test_questions"] == 24).all()
    analog = ours[~ours["method"].isin(["digital", "raw-upload"])]
    assert (analog["device_gflop"] > 0).all()
    assert analog["uplink_channel_uses"].between(8 * 64, 24 * 64).all()
    oracle = table[table["method"] == "text-oracle"].iloc[0]
    assert oracle["tokens_audio"] == 0
    assert oracle["accuracy"] > 0.8
    for name in ("accuracy_by_snr.png", "accuracy_by_overhead.png", "learning_curves.png"):
        assert (finished / "report" / name).read_bytes().startswith(b"\x89PNG")


def test_answers_and_curves_are_those_of_the_rows(finished: Path) -> None:
    table = pd.read_parquet(finished / "results")
    answers = pd.read_parquet(finished / "answers")
    right = answers.groupby(["cell", "eval_snr_db"], dropna=False)["exact"].agg(["mean", "size"])
    keys = table.sort_values(["cell", "eval_snr_db"], ignore_index=True)
    assert right["mean"].to_numpy() == pytest.approx(keys["accuracy"])
    assert (right["size"] == 24).all()
    assert answers["sample_id"].nunique() == 24
    curves = pd.read_parquet(finished / "curves")
    assert list(curves.columns) == layout_of(StudyFolder(finished).open()).curves.names
    assert set(curves["phase"]) == {"alignment", "fine-tuning"}
    assert curves.loc[curves["phase"] == "fine-tuning", "task"].notna().all()
    aligned = curves[(curves["method"] == "aligned") & (curves["phase"] == "alignment")]
    assert aligned[["contrastive_audio", "contrastive_vision"]].notna().all(axis=None)
    assert curves.groupby(["cell", "phase"]).size().eq(4).all()


def test_data_that_cannot_be_made_stop_a_study(tmp_path: Path, refused: Callable[..., str]) -> None:
    """They are made in a thread, while Ray starts; its error ends the run."""
    study = tmp_path / "s.yaml"
    study.write_text(yaml.safe_dump(_MLMS))
    mark = tmp_path / "out" / "data" / "minimusic.json"
    mark.parent.mkdir(parents=True)
    mark.write_text('{"clips": 61, "seed": 3}')
    said = refused("study", "run", study, "--out", tmp_path / "out")
    assert 'another MiniMUSIC {"clips": 61, "seed": 3}; choose another folder' in said
    assert not (tmp_path / "out" / "tune").exists()


def test_a_finished_study_runs_nothing_again(finished: Path, shown: Callable[..., str]) -> None:
    before = {f: f.stat().st_mtime_ns for f in (finished / "results").glob("*.parquet")}
    for command in (["resume", "--retry-failed"], ["report"]):
        said = shown("study", *command, finished)
        assert "report.html" in said
        assert ("0 failed cells run again" in said) == ("--retry-failed" in command)
    assert {f: f.stat().st_mtime_ns for f in (finished / "results").glob("*.parquet")} == before


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
    pd.testing.assert_frame_equal(_table(copy.root), _table(finished))
    assert not list(copy.root.rglob(".*.partial"))


@pytest.fixture(scope="module")
def grown(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A finished study to which an SNR and two deadlines have been added."""
    copy = StudyFolder(shutil.copytree(finished, tmp_path_factory.mktemp("grown") / "copy"))
    axes = ("--set", "eval_snr_db=[0, 10, 20]", "--set", "deadline_ms=[3.0, 0.5, null]")
    done = tokcom("study", "run", copy.config, "--out", copy.root, *axes)
    assert done.returncode == 0, done.stdout + done.stderr
    return copy


def test_a_finished_study_grows_by_an_snr_without_training(
    finished: Path, grown: StudyFolder
) -> None:
    """Every row that was there is there again, once, and new ones beside it."""
    before, after = (
        sorted(path.name for path in StudyFolder(root).artifacts.root.iterdir())
        for root in (finished, grown.root)
    )
    assert after == before
    names = ["method", "air", "eval_snr_db"]
    table = _table(grown.root)
    other = table["method"].isin(METHODS) & table["deadline_ms"].ne(3.0)
    tables = (_table(finished), table[~other])
    old, new = (t.fillna({"eval_snr_db": -1}).set_index(names).sort_index() for t in tables)
    assert new.index.is_unique
    assert set(new.index.levels[2]) - set(old.index.levels[2]) == {20.0}
    same = new.loc[old.index].drop(columns="cell")
    pd.testing.assert_frame_equal(same, old.drop(columns="cell"))
    for folder in (grown.answers, grown.devices, grown.curves):
        assert {f.stem for f in folder.iterdir()} == {f.stem for f in grown.results.iterdir()}


def test_a_finished_study_grows_by_a_deadline_without_an_evaluation(grown: StudyFolder) -> None:
    """A question that comes late is the same question: the answers of one deadline are copied."""
    table = _table(grown.root)
    ours = table[table["method"].isin(METHODS)]
    by_deadline = ours.groupby("deadline_ms", dropna=False)
    assert by_deadline.size().nunique() == 1
    assert by_deadline["accuracy"].mean().nunique() == 1
    assert by_deadline["meets_deadline"].mean().to_list()[0] == 0
    evaluated = {f.stem for f in grown.usage.iterdir()} & set(table["cell"])
    assert ours.loc[ours["cell"].isin(evaluated), "deadline_ms"].nunique(dropna=False) == 1


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
    pd.testing.assert_frame_equal(_table(out), _table(whole))
    assert not list((out / "artifacts").glob(".*.partial"))


@pytest.mark.slow
def test_digital_links_and_cells_share_the_table(minimusic: Path, tmp_path: Path) -> None:
    study = small_study(
        data={"minimusic": {"clips": CLIPS, "seed": SEED}},
        methods=["aligned", "digital", "raw-upload"],
        airs=["umi", {"name": "tdl-a", "csi": "estimated", "speed_mps": 3.0}],
        link={"access": "sdma", "antennas": 4},
        evaluation={"questions": 8},
        **mlms(
            models={"receiver_width": 32, "receiver_input": "symbols+noise"},
            alignment={"steps": 2, "batch_size": 16},
            fine_tuning={"steps": 2, "reference_steps": 2, "batch_size": 8},
        ),
    )
    table = run_here(study, tmp_path / "out", data=minimusic)
    assert set(table["status"]) == {"ok"}
    ours = table[~table["method"].isin(REFERENCES)]
    assert ours.groupby(["method", "air"]).size().tolist() == [1] * 6
    umi = ours[ours["air"] == "umi"]
    assert umi["eval_snr_db"].isna().all()
    assert umi["realised_snr_db"].notna().all()
    by_method = ours[ours["air"] != "umi"].groupby("method")
    uses = by_method["uplink_channel_uses"].mean()
    assert uses["aligned"] < uses["digital"] < uses["raw-upload"]
    bits = by_method["payload_bits"].mean()
    assert bits["aligned"] == 0 < bits["digital"] < bits["raw-upload"]
    assert by_method["ebn0_db"].mean().notna().to_dict() == {
        "aligned": False,
        "digital": True,
        "raw-upload": True,
    }
    assert by_method["device_gflop"].max()["raw-upload"] == 0
    devices = pd.read_parquet(tmp_path / "out" / "devices")
    placed = devices[devices["air"] == "umi"]
    assert placed[["x_m", "path_loss_db", "tx_power_dbm"]].notna().all(axis=None)
    rows = ours.set_index(["cell", "eval_snr_db"])["energy_mj"]
    sums = devices.groupby(["cell", "eval_snr_db"], dropna=False)["energy_mj"].sum()
    for key, energy_mj in rows.items():
        same = [value for other, value in sums.items() if str(other) == str(key)]
        assert same == [pytest.approx(energy_mj)]


def test_a_text_as_bytes_takes_far_fewer_channel_uses(minimusic: Path, tmp_path: Path) -> None:
    """A question of some forty bytes is a few hundred coded bits, not a token's 64 symbols each."""
    study = small_study(
        data={"minimusic": {"clips": CLIPS, "seed": SEED}},
        methods=["aligned", "text-as-bytes", {"name": "aligned", "transport": {"audio": "file"}}],
        airs=["awgn"],
    )
    table = run_here(study, tmp_path / "out", data=minimusic)
    assert set(table["status"]) == {"ok"}
    devices = pd.read_parquet(tmp_path / "out" / "devices")
    uses = devices.pivot_table("uplink_channel_uses", "device", "method")
    assert uses.loc["text", "text-as-bytes"] < uses.loc["text", "aligned"] / 2
    assert uses.loc["vision", "text-as-bytes"] == uses.loc["vision", "aligned"] == 4 * 64
    bits = devices.pivot_table("payload_bits", "device", "method")
    assert bits["aligned"].eq(0).all()
    assert bits.loc["text", "text-as-bytes"] > 0 == bits.loc["vision", "text-as-bytes"]
    compute = table.set_index("method")["device_gflop"]
    assert compute["text-as-bytes"] == compute["aligned"]
    sent = "aligned transport.audio=file"
    assert 0 < compute[sent] < compute["aligned"]  # the base station encodes the sound alone
    assert uses.loc["audio", sent] > 100 * uses.loc["audio", "aligned"]


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
    assert rows.loc[lost, "reason"].str.contains("SafetensorError").all()
    assert rows.loc[~lost, "blind_accuracy"].isna().all()
    assert rows.loc[rows["method"] == "aligned", "text_oracle_accuracy"].notna().all()
    for file, content in whole.items():
        file.write_bytes(content)
    assert forget_failures(copy.root) == len(broken)
    run_here(copy.open(), copy.root)
    found = _table(copy.root)
    ran = found[found["status"] == "ok"].reset_index(drop=True)
    pd.testing.assert_frame_equal(ran, _table(finished), check_dtype=False)  # some were empty


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
    pd.testing.assert_frame_equal(_table(out), _table(finished))


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
    pd.testing.assert_frame_equal(_table(copy.root), _table(finished))
