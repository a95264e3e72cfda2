"""Ray-traced sites, where the machine can trace."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from channel_models import Air, named_air
from channel_models.sources.raytraced import (
    STATIONS_M,
    USER_HEIGHT_M,
    Survey,
    draw_places,
    tracing_is_possible,
)
from channel_models.testing import LINK, AirContract, frame
from tests.backends import pretend_llvm

can_trace = pytest.mark.skipif(
    not tracing_is_possible(), reason="ray tracing needs LLVM 16 or newer (libllvm19), or a GPU"
)


@can_trace
class TestSite(AirContract):
    @pytest.fixture(autouse=True)
    def _home(
        self, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        home = tmp_path_factory.getbasetemp() / "site"
        monkeypatch.setenv("HOME", str(home))

    def build(self, snr_db: float) -> Air:
        return named_air("munich", positions=3, max_depth=2, speed_mps=3.0).build(LINK, math.nan)


@can_trace
def test_a_site_is_traced_once_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    site = named_air("munich", positions=3, max_depth=2, speed_mps=3.0)
    assert not site.sets_snr
    air = site.build(LINK, math.nan)
    (file,) = (tmp_path / ".cache" / "tokcom" / "traces").iterdir()
    written = file.stat().st_mtime_ns
    again = site.build(LINK, math.nan)
    assert file.stat().st_mtime_ns == written
    first, second = (a.transmit([frame("a", batch=40)], seed=1)[0] for a in (air, again))
    assert torch.equal(first.symbols, second.symbols)
    assert len(first.location["x_m"].unique()) == 3
    assert (first.location["height_m"] == 1.5).all()
    assert 60 < float(first.location["path_loss_db"].min()) < 140
    kept = named_air("munich", positions=3, max_depth=2, drop_seed=1).build(LINK, math.nan)
    (got,) = kept.transmit([frame("a", batch=40)], seed=1)
    assert len(got.location["x_m"].unique()) == 1


@can_trace
def test_a_scene_of_ones_own_is_asked_for_its_station(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs 'scene'"):
        named_air("site")
    with pytest.raises(ValueError, match="station_m"):
        named_air("site", scene=str(tmp_path / "a.xml"))
    absent = named_air("site", scene=str(tmp_path / "a.xml"), station_m=(0, 0, 10))
    with pytest.raises(ValueError, match="no scene"):
        absent.build(LINK, math.nan)


def test_an_air_knows_where_its_station_stands_on_the_map() -> None:
    """In the middle of a cell, but not of a scene; airs without places have no map."""
    assert named_air("umi").station_xy_m == (0, 0)
    assert named_air("munich").station_xy_m == STATIONS_M["munich"][:2] != (0, 0)
    own = named_air("site", scene="a.xml", station_m=(300, 400, 20))
    assert own.station_xy_m == (300, 400)
    assert named_air("rayleigh").station_xy_m is None


def test_places_are_uniform_within_the_radius() -> None:
    """Of a disc a quarter lies within half the radius."""
    survey = Survey("munich", (8.5, 21.0, 27.0), 150.0, 200, 3, 3.5e9, 1, seed=0)
    count = 4000
    places = draw_places(np.random.default_rng(0), survey, count)
    assert (places[:, 2] == USER_HEIGHT_M).all()
    offset_m = places[:, :2] - survey.station_m[:2]
    distance_m = np.hypot(*offset_m.T)
    assert 149 < distance_m.max() <= 150
    assert (distance_m < 75).mean() == pytest.approx(0.25, abs=5 * math.sqrt(0.1875 / count))
    assert np.abs(offset_m.mean(0)).max() < 5 * 75 / math.sqrt(count)


@pytest.mark.parametrize(
    ("llvm", "gpu", "possible"), [(15, False, False), (19, False, True), (15, True, True)]
)
def test_an_llvm_that_is_too_old_is_none(
    llvm: int, gpu: bool, possible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_llvm(monkeypatch, llvm, gpu)
    assert tracing_is_possible() is possible


def test_with_an_old_llvm_there_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dr.Jit has a backend, which would abort the process."""
    monkeypatch.setenv("HOME", str(tmp_path))
    pretend_llvm(monkeypatch, 15)
    with pytest.raises(ValueError, match="needs LLVM 16 or newer; install libllvm19"):
        named_air("munich", positions=1).build(LINK, math.nan)


def test_without_llvm_there_is_one_clear_line(tmp_path: Path) -> None:
    code = (
        "from channel_models import Link, named_air\n"
        "try:\n    named_air('munich', positions=1).build(Link(), 0.0)\n"
        "except ValueError as error:\n    print(error)"
    )
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "DRJIT_LIBLLVM_PATH": "/nonexistent/libLLVM.so",
        "CUDA_VISIBLE_DEVICES": "",
    }
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "install libllvm19" in ended.stdout
