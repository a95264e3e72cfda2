"""From an emulation's journal to rows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import pytest

from channel_models import COSTS
from studies.tables.costs import air_columns
from studies.tables.emulation import (
    _device_rows,
    _scores,
    _summary,
    scores_of_silence,
)
from tokcom_core.datasets.samples import Samples
from tokcom_core.tasks import Avqa

from .outcomes import finished_samples


@pytest.fixture
def journal() -> pd.DataFrame:
    """Two users ask once each over one device: the first twice, once in vain, the second well."""
    journal = pd.DataFrame(
        {
            "request": [0, 0, 1, 2],
            "user": [0, 0, 1, 2],
            "device": "text",
            "stream": "question",
            "score": [0.0, 1.0, 1.0, 0.0],
            "received": [False, True, True, True],
            "sent": [True, True, True, False],
            "lost": [True, False, False, False],
            "tokens": [4, 4, 6, 0],
            "realised_snr_db": [0.0, 10.0, 10.0, 90.0],
            "realised_sinr_db": [-math.inf, 3.0, 10.0, -math.inf],
        }
    )
    return journal.assign(**dict.fromkeys(COSTS, 1.0))


def test_snrs_are_averaged_linearly_over_what_was_sent(journal: pd.DataFrame) -> None:
    summary = _summary(journal, asked=3)
    assert summary.realised_snr_db == pytest.approx(10 * math.log10(21 / 3))
    assert summary.sinr_db == pytest.approx(10 * math.log10((10**0.3 + 10) / 3))


def test_every_users_snrs_are_averaged_linearly(journal: pd.DataFrame) -> None:
    first, second, third = _device_rows(journal, [1.0, 1.0, 0.0])
    assert first["realised_snr_db"] == pytest.approx(10 * math.log10(5.5))
    assert first["realised_sinr_db"] == pytest.approx(3 + 10 * math.log10(0.5))
    assert second["realised_sinr_db"] == pytest.approx(10.0)
    assert third["realised_snr_db"] is None  # it sent nothing


def test_tokens_are_those_of_a_question_and_missing_devices_send_none(
    journal: pd.DataFrame,
) -> None:
    assert _summary(journal, asked=3).tokens == pytest.approx(14 / 4)
    nothing = journal.assign(sent=False, lost=False)
    summary = _summary(nothing, asked=3)
    assert (summary.tokens, summary.erased_fraction, summary.sent_fraction) == (0, 0, 0)
    both = air_columns([_summary(journal, asked=3), summary])
    assert both["realised_snr_db"] == pytest.approx(10 * math.log10(21 / 3))
    assert all(math.isfinite(both[name]) for name in ("realised_sinr_db", "erased_fraction"))


class Consensus(Avqa):
    """No answer at all is right, where it is what people say; the last question has no score."""

    def scores(
        self, predicted: Sequence[str], samples: Samples, corpus: Samples | None = None
    ) -> list[float]:
        return [1.0] * (len(predicted) - 1) + [math.nan]


def test_a_question_that_was_never_received_has_no_score_or_none_that_counts() -> None:
    """0, whatever no answer is worth; NaN where a judge elsewhere scores answers."""
    found = scores_of_silence(Consensus(), finished_samples())
    assert found[:-1] == [0.0] * (len(found) - 1)
    assert math.isnan(found[-1])


def test_questions_that_were_never_received_score_as_silence(journal: pd.DataFrame) -> None:
    journal = journal.assign(predicted="x", first_token=False)
    received = journal[journal["received"]].set_index("request")
    assert _scores(journal, received.drop(1), [0.0] * 3, 0.01).scores == (1.0, 0.0, 0.0)
    judged = received.assign(score=math.nan).drop(1)
    assert all(map(math.isnan, _scores(journal, judged, [math.nan] * 3, 0.01).scores))


def test_a_device_of_two_streams_counts_attempts_and_known_scores(journal: pd.DataFrame) -> None:
    both = pd.concat([journal, journal.assign(stream="caption")], ignore_index=True)
    first, second, _ = _device_rows(both, [math.nan, 0.5, 0.0])
    assert (first["transmissions"], second["transmissions"]) == (2.0, 1.0)
    assert (first["accuracy"], second["accuracy"]) == (None, 0.5)
