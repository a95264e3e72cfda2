"""Tables of three small studies, as they were computed before systems had a contract.

``golden/*.parquet`` hold every column of the tables of the studies beside them but ``cell``,
``config``, ``versions``, ``wall_s`` and what came later (``predicted``, ``feedback_bits``,
``train_snr_span_db``, ``bits_per_value``, ``users`` but in ``results``, times of computing, costs
of training, what is late, and of an emulation percentiles, fairness, losses by cause and each
answer's latency); the latency of a single user, which came later as well, is its airtime. They were
computed with ``engine: inline`` by the commit before that refactoring. Whoever changes numbers on
purpose writes them anew, by ``python -m tests.studies.test_golden``, and says why. That was when

- MiniMUSIC's sound came to be encoded by AAC's fast coder;
- the quantiser's scale was rounded up, a file's MCS no longer depended on its batch-mates, SINRs
  without an error became infinite (they were NaN), users came to miss the same devices in every
  phase, and a lost question to wait for its feedback;
- costs became means over samples instead of those of the mean length, what is erased came to have
  no SINR, losses and SINRs no longer depended on the batches, and operations were counted where a
  weight is applied;
- lost packets came to count in no alignment; an emulation's scheduler to see the subcarriers that
  are used, its batches to have whole intervals, and its missing devices to send no tokens;
- what a device of a cell sends in an interval came from one place;
- files came to send no power scale, and error rates of high MCSs to fall on beyond the SNRs of
  Sionna's tables.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from studies.plan.loading import load
from studies.tables.columns import LOSS_COLUMNS, PERCENTILES

from .conftest import GOLDEN, tokcom
from .here import run_here

STUDIES = ("methods", "federation", "crowd")
TABLES = ("results", "curves", "answers", "devices")
ROWS = ["method", "air", "eval_snr_db", "user", "device", "phase", "step", "sample_id"]
"""What tells rows apart, as far as a table has it; an emulation's answers keep their order."""
UNCOMPARED = [
    *("cell", "config", "versions", "wall_s"),
    *("predicted", "feedback_bits", "train_snr_span_db", "bits_per_value"),
    *("device_ms", "station_ms"),
    *("train_channel_uses", "train_airtime_s", "train_energy_j"),
    *("train_uplink_bits", "train_downlink_bits"),
    *(*LOSS_COLUMNS, *(f"latency_p{p}_ms" for p in PERCENTILES), "fairness", "late_fraction"),
]
COSTS_OF_STEPS = "^(samples|channel_uses_.*|uplink_bits|gradient_bits|tx_power_dbm)$"
"""Columns of ``curves`` that came later."""
RTOL = 1e-3
"""Other processors round otherwise: losses have differed by 1.6e-4, and no answer."""


def _comparable(out: Path, name: str) -> pd.DataFrame:
    """The columns of a table that are compared."""
    found = pd.read_parquet(out / name).drop(columns=UNCOMPARED, errors="ignore")
    if name != "results":
        found = found.drop(columns="users")
    if name == "answers":
        found = found.drop(columns="latency_ms")
    if name == "curves":
        found = found.drop(columns=found.filter(regex=COSTS_OF_STEPS).columns)
    return found


def _compare(out: Path, study: str) -> None:
    for name in TABLES:
        wanted = pd.read_parquet(GOLDEN / f"{name}.parquet").query(f"study == '{study}'")
        found = _comparable(out, name)
        assert set(found) == set(wanted), name
        keys = [key for key in ROWS if key in wanted]
        found, wanted = (
            t[list(found)].sort_values(keys, kind="stable", ignore_index=True)
            for t in (found, wanted)
        )
        real = list(found.select_dtypes("floating"))
        assert_frame_equal(found.drop(columns=real), wanted.drop(columns=real), obj=name)
        assert_frame_equal(found[real], wanted[real], rtol=RTOL, obj=name)


def test_all_methods(finished: Path) -> None:
    _compare(finished, "methods")


@pytest.mark.parametrize("name", STUDIES[1:])
def test_many_users(name: str, finished: Path, tmp_path: Path) -> None:
    """Federated training over a MIMO link; emulated users who train, ask and fail."""
    run_here(load(GOLDEN / f"{name}.yaml"), tmp_path / "out", data=finished / "data")
    _compare(tmp_path / "out", name)


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_engine_ray_gives_them_as_well(name: str, tmp_path: Path) -> None:
    file, out = GOLDEN / f"{name}.yaml", tmp_path / "out"
    done = tokcom("study", "run", file, "--out", out, "--set", "engine=ray")
    assert done.returncode == 0, done.stdout + done.stderr
    _compare(out, name)


def _write(folder: Path) -> None:
    """Writes the tables anew."""
    for name in STUDIES:
        done = tokcom("study", "run", GOLDEN / f"{name}.yaml", "--out", folder / name)
        assert done.returncode == 0, done.stderr
    for table in TABLES:
        every = pd.concat([_comparable(folder / name, table) for name in STUDIES])
        every.to_parquet(GOLDEN / f"{table}.parquet", index=False)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        _write(Path(folder))
