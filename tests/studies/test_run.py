"""Whole studies: their rows, on air and in packets, and what is not run again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from studies.storage.folder import StudyFolder
from studies.tables.layout import layout_of

from ..conftest import CLIPS, SEED
from .finished import METHODS, REFERENCES
from .here import run_here
from .small import mlms, small_study, write_study


def test_every_cell_has_its_rows(finished: Path) -> None:
    shown = (finished / "shown.txt").read_text()
    assert "report.html" in shown
    assert re.search(r"^alignment: 12 of 12 in \d", shown, re.MULTILINE), shown
    assert re.search(r"^evaluation: 17 of 17 in \d", shown, re.MULTILINE), shown
    table = pd.read_parquet(finished / "results")
    rows = {**dict.fromkeys(METHODS, 2 + 2 + 1), **dict.fromkeys(REFERENCES, 1)}
    assert table.groupby("method").size().to_dict() == rows
    assert set(table["status"]) == {"ok"}
    ran = [json.loads(versions) for versions in table["versions"].unique()]
    assert [(own["device"], own["dtype"]) for own in ran] == [("cpu", "float32")]
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
    study = write_study(tmp_path / "s.yaml", data={"minimusic": {"clips": 60, "seed": 3}})
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
