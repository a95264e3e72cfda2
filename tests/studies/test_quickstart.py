"""The example study's claims, on its own table: ``python -m pytest -m slow`` (six minutes)."""

from __future__ import annotations

import pandas as pd
import pytest

import studies

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return studies.run("quickstart", tmp_path_factory.mktemp("quickstart"))


def test_every_cell_is_there(table: pd.DataFrame) -> None:
    assert set(table["status"]) == {"ok"}
    assert len(table) == 2 * 2 * 2 * 2 * 2 + 2 * 2


def test_references_are_fair(table: pd.DataFrame) -> None:
    blind = table[table["method"] == "blind"]
    oracle = table[table["method"] == "text-oracle"]
    assert (blind["accuracy_high"] >= blind["majority_accuracy"]).all()
    assert (oracle["accuracy"] >= 0.9).all()


def test_aligned_lies_between_the_references(table: pd.DataFrame) -> None:
    """With a long budget and a good channel, the intervals of every single row are apart."""
    rows = table.query("method == 'aligned' and tokens_audio == 16 and eval_snr_db == 10")
    assert (rows["accuracy_low"] > rows["blind_accuracy"] + 0.05).all()
    assert (rows["accuracy_high"] < rows["text_oracle_accuracy"]).all()


def test_noise_and_few_tokens_cost_accuracy(table: pd.DataFrame) -> None:
    aligned = table[table["method"] == "aligned"].set_index(
        ["air", "tokens_audio", "seed", "eval_snr_db"]
    )
    by_snr = aligned["accuracy"].unstack("eval_snr_db")
    assert (by_snr[10.0] > by_snr[0.0]).all()
    clean = aligned.xs(10.0, level="eval_snr_db")
    low = clean["accuracy_low"].unstack("tokens_audio")
    high = clean["accuracy_high"].unstack("tokens_audio")
    assert (low[16.0] > high[4.0]).all()
