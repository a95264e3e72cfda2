"""Samples of a study: those of unreadable clips are left out, and said to be."""

from __future__ import annotations

import json
import logging
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from unittest.mock import create_autospec

import numpy as np
import pytest

from actors import Network
from studies.execution.networks import NetworkFactory
from studies.execution.runner import SpecRunner
from studies.execution.splits import write_samples
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from tokcom_core.datasets.layout import MUSIC_AVQA, annotation_file, sound_file
from tokcom_core.datasets.media import read_sound
from tokcom_core.datasets.samples import read_samples
from tokcom_core.encoders.audio import AudioEncoder
from tokcom_core.features import MediaFeatures, open_features
from tokcom_core.tasks import Avqa

from .here import encoded
from .small import mlms

Lost = tuple[str, Callable[[], Path]]


@pytest.fixture
def data(minimusic: Path, tmp_path: Path) -> Path:
    """A copy of the data, whose clips may be damaged."""
    copy = tmp_path / "data"
    shutil.copytree(minimusic, copy, ignore=shutil.ignore_patterns("video"))
    return copy


@pytest.fixture
def lost(data: Path, tmp_path: Path) -> Lost:
    """A test clip whose sound is missing, and what brings it back."""
    clip = Avqa().samples(data, "test").media_id[0]
    sound = sound_file(data / MUSIC_AVQA, clip)
    moved = sound.rename(tmp_path / "later.wav")
    return clip, lambda: moved.rename(sound)


def test_a_damaged_clip_is_named_and_its_questions_are_left_out(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clip = Avqa().samples(data, "val").media_id[0]
    sound_file(data / MUSIC_AVQA, clip).write_bytes(b"RIFF")
    study = Study(name="s", data={"folder": data})
    folder = StudyFolder(tmp_path / "out")
    folder.begin(study)
    features = Plan(study).features()
    runner = SpecRunner(study, folder, features)
    for spec in features:
        runner.run(spec)
    with caplog.at_level(logging.WARNING):
        write_samples(folder, study, features)
    assert f"skipped 1 clips of val: {clip}: " in caplog.text
    kept = read_samples(folder.samples("val"))
    assert clip not in kept.media_id
    assert len(kept) < len(Avqa().samples(data, "val"))
    assert len(read_samples(folder.samples("test"))) == len(Avqa().samples(data, "test"))


def test_a_clip_that_comes_later_is_told_and_left_out_as_before(
    data: Path, tmp_path: Path, lost: Lost, caplog: pytest.LogCaptureFixture
) -> None:
    clip, bring_back = lost
    study = Study(name="s", data={"folder": data})
    _, folder = encoded(study, tmp_path / "out")
    assert "can be read by now" not in caplog.text
    before = read_samples(folder.samples("test"))
    bring_back()
    write_samples(folder, study, Plan(study).features())
    assert f"skipped 1 clips of test: {clip}: " in caplog.text
    assert f"1 of them can be read by now, such as {clip}; what is in" in caplog.text
    assert read_samples(folder.samples("test")) == before


def test_a_grown_study_takes_in_no_clip_that_it_began_without(
    data: Path, tmp_path: Path, lost: Lost, caplog: pytest.LogCaptureFixture
) -> None:
    """Though its new token lengths encode the data again, and then all of them can be read."""
    _, bring_back = lost
    keys = {"name": "s", "data": {"folder": data}, "methods": ["unaligned"]}
    _, folder = encoded(Study(**keys, tokens={"audio": 4, "vision": 4}), tmp_path / "out")
    before = read_samples(folder.samples("test"))
    bring_back()
    both = [{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}]
    with caplog.at_level(logging.WARNING):
        encoded(Study(**keys, tokens=both), tmp_path / "out")
    assert f"1 clips of test in {folder.root} can be read by now" in caplog.text
    assert read_samples(folder.samples("test")) == before


def test_questions_that_share_an_id_are_told_apart(minimusic: Path, tmp_path: Path) -> None:
    """As 55 pairs of MUSIC-AVQA's test questions, each about one clip, with two answers."""
    data = tmp_path / "data"
    for file in Avqa().annotation_files(minimusic):
        copied = data / file.relative_to(minimusic)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copied)
    file = annotation_file(data / MUSIC_AVQA, "avqa", "test")
    first, *others = json.loads(file.read_text())
    file.write_text(json.dumps([first, *others, {**first, "anser": "two"}]))
    study = Study(name="s", data={"folder": data})
    folder = StudyFolder(tmp_path / "out")
    folder.begin(study)
    write_samples(folder, study, [])
    found = read_samples(folder.samples("test"))
    assert found.media_id[0] == found.media_id[-1] == first["video_id"]
    assert found.sample_id[0] == str(first["question_id"])
    assert found.sample_id[-1] == f"{first['question_id']}-2"
    assert len(set(found.sample_id)) == len(found)


def test_a_clip_that_stands_in_two_splits_is_encoded_once(
    minimusic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 2,296 of MUSIC-AVQA's validation clips, which also stand in test."""
    data = tmp_path / "data"
    shutil.copytree(minimusic, data, ignore=shutil.ignore_patterns("video"))
    files = [annotation_file(data / MUSIC_AVQA, "avqa", split) for split in ("val", "test")]
    val, test = (json.loads(file.read_text()) for file in files)
    files[0].write_text(json.dumps(val + test))
    received: list[str] = []
    preprocess = AudioEncoder.preprocess

    def noted(encoder: AudioEncoder, sound: np.ndarray) -> object:
        received.append(sound.tobytes().hex())
        return preprocess(encoder, sound)

    monkeypatch.setattr(AudioEncoder, "preprocess", noted)
    study = Study(name="s", data={"folder": data})
    _, folder = encoded(study, tmp_path / "out")
    assert len(received) == len(set(received)) == 60
    assert len(read_samples(folder.samples("val"))) == len(val) + len(test)


def test_compute_counts_the_windows_of_a_whole_sound(minimusic: Path, tmp_path: Path) -> None:
    """The pocket AST hears 4 s at once: the test clips have 4 s but one, which has 60."""
    data = tmp_path / "data"
    shutil.copytree(minimusic, data, ignore=shutil.ignore_patterns("video"))
    clips = list(dict.fromkeys(Avqa().samples(data, "test").media_id))
    long = sound_file(data / MUSIC_AVQA, clips[0])
    for i, clip in enumerate(clips):
        _write_sound(sound_file(data / MUSIC_AVQA, clip), 60 if i == 0 else 4, read_sound(long))
    gflop: dict[str, dict[str, float]] = {}
    for span in ("first", "whole"):
        study = Study(name="s", data={"folder": data}, **mlms(models={"audio_span": span}))
        plan, system = Plan(study), study.systems.mlms
        _, folder = encoded(study, tmp_path / span)
        cell = plan.known_cells({})[-1]
        asked = read_samples(folder.samples("test"))
        networks, lengths = NetworkFactory(study, folder, plan.features()), cell.trained.tokens
        gflop[span] = {
            device: system.device_gflop(cell.task, device, lengths, windows, lengths)
            for device, windows in networks.windows(cell, asked).items()
        }
    share = asked.media_id.count(clips[0]) / len(asked)
    more = system.models.encoder("audio").shape().gflop(14 * share)
    assert gflop["whole"]["audio"] == pytest.approx(gflop["first"]["audio"] + more)
    assert gflop["whole"]["vision"] == gflop["first"]["vision"]
    (store,) = (
        open_features(folder.artifacts.path(spec))
        for spec in plan.features()
        if isinstance(spec.features, MediaFeatures)
        and (spec.features.medium, spec.features.dataset) == ("audio", MUSIC_AVQA)
    )
    assert store.windows[store.row[clips[0]]] == 15


def _write_sound(file: Path, seconds: int, sound: np.ndarray) -> None:
    """So many seconds of 16 kHz mono sound, repeated."""
    samples = (np.resize(sound, 16_000 * seconds) * 32767).astype("<i2")
    with wave.open(str(file), "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(samples.tobytes())


def test_a_phase_starts_from_all_devices_that_earlier_phases_have_trained(tmp_path: Path) -> None:
    """Also those that take no part in the phase just before it, here of the text device alone."""
    study = Study(name="s", tokens={"audio": 4, "vision": 4}, methods=["aligned"])
    blind, *_, aligned = (cell.trained for cell in Plan(study).known_cells({}))
    between = blind.model_copy(update={"parent": aligned.parent})
    last = aligned.model_copy(update={"parent": between})
    network = create_autospec(Network, instance=True)
    NetworkFactory(study, StudyFolder(tmp_path), []).load_start(network, last)
    _, devices = network.load.call_args.args
    assert set(devices) == {"audio", "vision", "text"}


@pytest.mark.parametrize(("batch_size", "asked_at_once"), [(16, 16), (128, 128), (512, 128)])
def test_learning_rates_are_compared_in_batches_that_fit_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int, asked_at_once: int
) -> None:
    """Those of the evaluation, unless these are larger than any that results were made with."""
    rates = mlms(fine_tuning={"learning_rates": [1e-3, 2e-3]})
    study = Study(name="s", methods=["aligned"], evaluation={"batch_size": batch_size}, **rates)
    folder = StudyFolder(tmp_path)
    folder.begin(study)
    runner = SpecRunner(study, folder, [])
    network = create_autospec(Network, instance=True)
    network.__enter__.return_value = network
    network.evaluate.return_value.scores = [1.0]
    network.evaluate.return_value.losses = {"task": 0.5}
    monkeypatch.setattr(NetworkFactory, "network", lambda *_: network)
    first, *_ = Plan(study).candidates()["aligned"]
    runner.run(first)
    ((_, split, batch),) = (call.args for call in network.evaluate.call_args_list)
    assert (split, batch) == ("val", asked_at_once)
