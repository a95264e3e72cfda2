"""Shared fixtures: one small MiniMUSIC and its frozen tokens for the whole session."""

from __future__ import annotations

import builtins
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadScopeScheduling

from tokcom_core.datasets.media import prepare
from tokcom_core.datasets.minimusic.write import write_minimusic
from tokcom_core.encoders import Ast, Vivit
from tokcom_core.features import Sliding, TextFeatures, write_features
from tokcom_core.tasks import Avqa

CLIPS, SEED = 60, 5

Disk = Callable[[int], Path]
"""Mounts a file system of so many KiB."""

_SHARE_STUDIES = (
    *("broken_runs", "emulate", "forecast", "golden"),
    *("growth", "loggers", "run", "store"),
)
_STUDIES = tuple(f"studies/test_{name}.py" for name in _SHARE_STUDIES)
"""Files of tests that share whole studies, which take minutes."""


def _shares_studies(nodeid: str) -> bool:
    return nodeid.split("::")[0].endswith(_STUDIES)


class _ByFile(LoadScopeScheduling):
    """Gives each file to one process, and to one all those that share whole studies."""

    def _split_scope(self, nodeid: str) -> str:
        return "studies" if _shares_studies(nodeid) else nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Schedules the tests of several processes (``-n 2``) in the order of their collection."""
    config.option.loadscopereorder = False  # else by their number, which says little of their time
    return _ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest comes first, so that no process is left alone with it at the end."""
    whole = {"finished", "emulated"}
    sharing = [i for i in items if whole & set(getattr(i, "fixturenames", ()))]
    apart = {item.path.name for item in sharing if not _shares_studies(item.nodeid)}
    assert not apart, f"{apart}: each process would run the studies anew"
    items.sort(
        key=lambda item: (not item.path.match("studies/*.py"), not _shares_studies(item.nodeid))
    )


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


@pytest.fixture
def without_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the extra's package fails, as where it is not installed."""
    plain = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("diffusers"):
            raise ImportError(name)
        return plain(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)


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
    """Paths of each split's samples, of its media's tokens (six and all), and of its texts."""
    folder = tmp_path_factory.mktemp("tokens")
    found: dict[str, dict[str, Path]] = {"samples": {}, "audio": {}, "vision": {}}
    encoders = {"audio": Ast().build("cpu"), "vision": Vivit().build("cpu")}
    task = Avqa()
    for split in task.splits:
        samples = task.samples(minimusic, split)
        found["samples"][split] = folder / f"{split}.parquet"
        samples.write(found["samples"][split])
        for medium, encoder in encoders.items():
            found[medium][split] = folder / f"{split}-{medium}"
            found[medium][split].mkdir()
            write_features(
                found[medium][split],
                encoder,
                partial(task.media_file, minimusic, split, medium),
                list(dict.fromkeys(samples.media_id)),
                Sliding(counts=(6, encoder.length - encoder.summary_tokens)),
            )
    texts = TextFeatures(splits=task.splits, columns=task.texts, checkpoint="pocket")
    (folder / "text").mkdir()
    texts.write(folder / "text", task, minimusic, "cpu")
    return {**found, "text": dict.fromkeys(task.splits, folder / "text")}


@pytest.fixture(scope="session")
def my_airs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder on the path with ``my_airs.py``, the code of docs/own_air.md."""
    page = Path(__file__).parents[1] / "docs" / "own_air.md"
    folder = tmp_path_factory.mktemp("my_airs")
    (folder / "my_airs.py").write_text(page.read_text().split("```python\n")[1].split("```")[0])
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))
