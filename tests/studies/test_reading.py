"""Tables of a study in pandas and in DuckDB: all rows, axes in the study's order."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

import studies
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from tokcom_core.tasks import Avqa

from .outcomes import finish

METHODS, AIRS = ("unaligned", "aligned"), ("rayleigh", "awgn")  # neither is alphabetical
SNRS_DB = (10.0, 0.0)


def _accuracy(cell: Cell, snr_db: float) -> float:
    return 0.4 + 0.02 * snr_db + 0.1 * (cell.method == "aligned")


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("read")
    study = Study(
        name="read",
        methods=METHODS,
        airs=AIRS,
        eval_snr_db=SNRS_DB,
        tokens=[{"audio": 4, "vision": 4}, {"audio": 16, "vision": 16}],
        seeds=[0, 1],
    )
    finish(study, StudyFolder(folder), _accuracy)
    return folder


def test_reading_a_study_loads_no_models(out: Path) -> None:
    """Its methods were checked before it ran; to check them again would take most of the time."""
    heavy = ("transformers.modeling_utils", "peft", "sionna", "matplotlib")
    code = (
        f"import studies, sys; studies.summarise({str(out)!r}); "
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("table", ["results", "answers", "devices", "curves"])
def test_a_table_is_read_whole_in_the_order_of_the_study(out: Path, table: str) -> None:
    rows, raw = studies.read(out, table), pd.read_parquet(out / table)
    assert len(rows) == len(raw) > 0
    assert set(rows.columns) == set(raw.columns)
    methods = ["blind", *METHODS, "text-oracle"]
    assert rows["method"].cat.categories.to_list() == methods
    assert rows["method"].cat.ordered
    assert rows["air"].cat.categories.to_list() == list(AIRS)
    assert list(rows.groupby("method", observed=True).size().index) == methods
    counts = raw.groupby("method").size()
    assert rows.groupby("method", observed=True).size().to_dict() == counts.to_dict()
    if table == "answers":
        groups = [group for group in Avqa.groups if (raw["group"] == group).any()]
        assert rows["group"].cat.categories.to_list() == groups
    if table == "devices":
        assert set(rows["device"].cat.categories) == set(raw["device"])


def test_an_unknown_table_is_refused(out: Path) -> None:
    with pytest.raises(ValueError, match="no table 'cells'; there are: results, answers"):
        studies.read(out, "cells")


def test_a_curve_has_a_column_for_each_line(out: Path) -> None:
    summary = studies.summarise(out).query("method in @METHODS")
    by_snr = studies.curve(summary)
    assert by_snr.index.to_list() == sorted(SNRS_DB)
    assert by_snr.columns.names == ["method", "air", "tokens_audio", "tokens_vision"]
    own = summary.query("method == 'aligned' and air == 'awgn' and tokens_audio == 4")
    drawn = by_snr["aligned", "awgn", 4.0, 4.0]
    assert drawn.to_dict() == dict(zip(own["eval_snr_db"], own["accuracy"], strict=True))
    by_uses = studies.curve(summary, "uplink_channel_uses", "accuracy_low")
    assert by_uses.columns.names == ["method", "air", "eval_snr_db"]  # tokens vary along a line
    assert by_uses.shape == (2, len(METHODS) * len(AIRS) * len(SNRS_DB))
    by_length = studies.curve(summary, "tokens_audio")
    assert by_length.columns.names == ["method", "air", "eval_snr_db"]
    assert by_length.notna().all(axis=None)
    assert studies.curve(own).columns.to_list() == ["aligned"]
    with pytest.raises(ValueError, match="no column 'uses'"):
        studies.curve(summary, "uses")
    with pytest.raises(ValueError, match="several conditions share a value of 'seeds'"):
        studies.curve(summary, "seeds")


def test_duckdb_reads_the_tables_as_they_are(out: Path) -> None:
    found = duckdb.sql(
        f"""
        select method, tokens_audio, eval_snr_db, avg(r.accuracy) accuracy, avg(a.hit) answered
        from '{out}/results/*.parquet' r
        join (select cell, eval_snr_db, avg("right"::int) hit from '{out}/answers/*.parquet'
              group by all) a
        using (cell, eval_snr_db)
        where status = 'ok' and air = 'awgn' group by all order by all
        """
    ).df()
    assert found["answered"].to_numpy() == pytest.approx(found["accuracy"].to_numpy())
    awgn = studies.read(out).query("air == 'awgn'").astype({"method": str})
    expected = awgn.groupby(["method", "tokens_audio", "eval_snr_db"])["accuracy"].mean()
    assert found["accuracy"].to_list() == pytest.approx(expected.to_list())
