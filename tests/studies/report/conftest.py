"""A study whose tables are there without a training, and its report."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from studies.figures.report import write_report
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.files import Tables
from studies.tables.findings import Findings

from ..outcomes import finish, tables_of

CLAIMS = [
    {"better": "aligned", "than": "unaligned", "source": "a paper's Fig. 2"},
    {"better": "unaligned", "than": "aligned", "by": 0.05, "eval_snr_db": 0},
    {"better": "aligned", "than": "blind", "part": "audio_counting", "by": -0.9},
]


def accuracy(cell: Cell, snr_db: float) -> float:
    """Aligned tokens are better, and more with noise; long ones are as good as short ones."""
    better = 0.2 if snr_db == 0 else 0.001
    return 0.4 + better * (cell.method == "aligned") + 0.02 * cell.seed


@pytest.fixture(scope="session")
def study() -> Study:
    return Study(
        name="reported",
        description="Which is better? <b>bold</b>",
        claims=CLAIMS,
        methods=["aligned", "unaligned"],
        eval_snr_db=[0, 10],
        tokens=[{"audio": 4, "vision": 4}, {"audio": 16, "vision": 16}],
        seeds=[0, 1, 2],
    )


@pytest.fixture(scope="session")
def tables(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    tables = tables_of(study, StudyFolder(tmp_path_factory.mktemp("reported")))
    finish(study, tables.folder, accuracy)
    return tables


@pytest.fixture(scope="session")
def results(study: Study, tables: Tables) -> pd.DataFrame:
    return pd.read_parquet(tables.folder.results).sort_values(list(tables.layout.sort_by))


@pytest.fixture(scope="session")
def page(study: Study, tables: Tables, results: pd.DataFrame) -> Path:
    written = write_report(
        Findings(study, tables, results.assign(study="<script>alert(1)</script>"))
    )
    assert {file.suffix for file in written} == {".png", ".csv", ".html"}
    assert all(file.stat().st_size > 100 for file in written)
    return written[-1]
