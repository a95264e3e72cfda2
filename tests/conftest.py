"""Shared fixtures: one small MiniMUSIC and its frozen tokens for the whole session."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from tokcom_core.datasets.layout import MUSIC_AVQA, VALOR
from tokcom_core.datasets.media import prepare
from tokcom_core.datasets.minimusic.write import write_minimusic
from tokcom_core.datasets.samples import load_alignment_samples, load_task_samples
from tokcom_core.encoders import AudioEncoder, VisionEncoder
from tokcom_core.features import Sliding, write_features

CLIPS, SEED = 60, 5

Disk = Callable[[int], Path]
"""Mounts a file system of so many KiB."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Makes a small file system, where this machine lets us."""
    folder = tmp_path / "disk"

    def mount(kib: int) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("no file system can be mounted here")
        return folder

    yield mount
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minimusic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared MiniMUSIC of 60 clips."""
    root = tmp_path_factory.mktemp("minimusic")
    write_minimusic(root, CLIPS, SEED)
    assert not prepare(root).damaged
    return root


@pytest.fixture(scope="session")
def tokens(minimusic: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Path]]:
    """Paths of each split's samples, and of its audio and vision tokens, six and all."""
    folder = tmp_path_factory.mktemp("tokens")
    found: dict[str, dict[str, Path]] = {"samples": {}, "audio": {}, "vision": {}}
    encoders = {"audio": AudioEncoder("pocket"), "vision": VisionEncoder("pocket")}
    for split in ("align", "train", "val", "test"):
        aligning = split == "align"
        samples = (
            load_alignment_samples(minimusic, "train")
            if aligning
            else load_task_samples(minimusic, split)
        )
        found["samples"][split] = folder / f"{split}.parquet"
        samples.write(found["samples"][split])
        root = minimusic / (VALOR if aligning else MUSIC_AVQA)
        for modality, encoder in encoders.items():
            found[modality][split] = folder / f"{split}-{modality}"
            found[modality][split].mkdir()
            write_features(
                found[modality][split],
                encoder,
                root,
                list(dict.fromkeys(samples.video_id)),
                Sliding(counts=(6, encoder.length - encoder.summary_tokens)),
            )
    return found
