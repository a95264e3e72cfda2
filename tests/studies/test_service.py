"""How an emulation's users were served: formulas on small journals, and what the screen shows."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure

from actors import Faults
from actors.emulation.traffic import Traffic
from studies.cli.screen import service_table
from studies.figures.interactive_users import draw_users
from studies.figures.printed_users import users_figure
from studies.figures.users import users_of
from studies.plan.study import Study
from studies.tables.columns import TableLayout
from studies.tables.lateness import lateness
from studies.tables.layout import layout_of
from studies.tables.service import (
    answer_times,
    answered_in_turn,
    jain_index,
    loss_fractions,
    service_columns,
    summarise_service,
)

from .screen import screen_text

INTERVAL_S = 0.01


@pytest.fixture
def traffic() -> Traffic:
    """User 0 asks at once and after 0.1 s, user 1 after 0.2 s, user 2 after 0.3 s."""
    return Traffic(np.array([0, 0, 1, 2]), np.arange(4), np.array([0.0, 0.1, 0.2, 0.3]))


@pytest.fixture
def once() -> pd.DataFrame:
    """Questions 0 and 1 take 20 ms, 2 is received at the second time, 3 is given up."""
    return pd.DataFrame(
        {
            "request": [0, 1, 2, 3, 2, 3],
            "start_s": [0.01, 0.11, 0.2, 0.3, 0.23, 0.33],
            "received": [True, True, False, False, True, False],
            "stream": "question",
            "ends_ms": 6.0,
            "waited_ms": 0.0,
        }
    )


def _columns(journal: pd.DataFrame, traffic: Traffic, **computing: float) -> dict[str, Any]:
    times = answer_times(journal, traffic, INTERVAL_S, **computing)
    return service_columns(journal, traffic, INTERVAL_S, times)


@pytest.mark.parametrize(
    ("values", "index"),
    [
        ([3.0], 1.0),
        ([2.0, 2.0, 2.0], 1.0),
        ([1.0, 0.0, 0.0, 0.0], 1 / 4),
        ([1.0, 2.0, 3.0], 36 / (3 * 14)),
    ],
)
def test_jains_index(values: list[float], index: float) -> None:
    assert jain_index(values) == pytest.approx(index)
    assert jain_index([1e3 * value for value in values]) == pytest.approx(index)
    assert math.isnan(jain_index([0.0] * len(values)))


def test_latencies_run_from_asking_to_the_last_symbol(once: pd.DataFrame, traffic: Traffic) -> None:
    found = _columns(once, traffic)
    latencies_ms = [20, 20, 40]
    assert found["latency_ms"] == pytest.approx(np.mean(latencies_ms))
    for percent in (50, 95, 99):
        expected = np.percentile(latencies_ms, percent)
        assert found[f"latency_p{percent}_ms"] == pytest.approx(expected)
    assert found["answered_fraction"] == 3 / 4
    assert found["transmissions"] == 6 / 4
    assert found["answers_per_s"] == pytest.approx(3 / 0.34)


def test_latencies_count_computing(once: pd.DataFrame, traffic: Traffic) -> None:
    found = _columns(once, traffic, device_ms=15.0, station_ms=5.0)
    assert found["latency_ms"] == pytest.approx(np.mean([40, 40, 60]))
    assert found["latency_p50_ms"] == pytest.approx(40)
    assert found["fairness"] == pytest.approx(jain_index([1 / 0.04, 1 / 0.06, 0.0]))
    assert found["answers_per_s"] == pytest.approx(3 / 0.34)


def test_a_busy_base_station_answers_what_arrived_first(
    once: pd.DataFrame, traffic: Traffic
) -> None:
    """Questions arrive at 0.02, 0.12 and 0.24 s and take 0.11 s each."""
    found = _columns(once, traffic, station_ms=110.0)
    assert found["latency_ms"] == pytest.approx(np.mean([130, 140, 150]))
    assert found["latency_p50_ms"] == pytest.approx(140)
    assert found["answers_per_s"] == pytest.approx(3 / 0.35)
    slow = _columns(once, traffic, station_ms=1000.0)  # as many in a second as it can answer
    assert slow["answers_per_s"] == pytest.approx(3 / 3.02)
    assert slow["latency_ms"] == pytest.approx(np.mean([1020, 1920, 2820]))


def test_a_server_whose_customers_come_evenly_is_never_or_ever_more_late() -> None:
    """D/D/1: none waits below full use; above it each waits longer than the one before."""
    arrived_s = pd.Series(0.01 * np.arange(100), np.arange(100)[::-1])
    assert answered_in_turn(arrived_s, 0.0).equals(arrived_s)
    waited_s = answered_in_turn(arrived_s, 0.008) - arrived_s - 0.008
    assert waited_s.abs().max() < 1e-12
    waited_s = answered_in_turn(arrived_s, 0.012) - arrived_s - 0.012
    assert waited_s.to_numpy() == pytest.approx(0.002 * np.arange(100))


@pytest.mark.parametrize("used", [0.3, 0.7, 0.9])
def test_a_server_of_random_arrivals_has_the_wait_of_pollaczek_and_khinchine(used: float) -> None:
    """M/D/1: the mean wait is ``used / (2 (1 - used))`` times what each takes."""
    gaps_s = np.random.default_rng(0).exponential(1.0, 1_000_000)
    arrived_s = pd.Series(gaps_s.cumsum()).sample(frac=1, random_state=1)
    waited_s = answered_in_turn(arrived_s, used) - arrived_s - used
    assert waited_s.mean() == pytest.approx(used**2 / (2 * (1 - used)), rel=0.03)


def test_latencies_count_the_slowest_straggler_that_is_waited_for(
    once: pd.DataFrame, traffic: Traffic
) -> None:
    """Question 2 waits 7 ms for its sound where it is answered, not for what was sent in vain.

    What comes before the interval of 10 ms ends is waited for anyway.
    """
    sound = once.assign(stream="sound", waited_ms=[4.0, 0.0, 99.0, 99.0, 11.0, 99.0])
    journal = pd.concat([once.assign(waited_ms=[0.0, 7.0, 0.0, 0.0, 9.0, 0.0]), sound])
    found = _columns(journal, traffic)
    assert found["latency_ms"] == pytest.approx(np.mean([20, 23, 47]))
    assert found["transmissions"] == 6 / 4
    assert found["fairness"] == pytest.approx(
        jain_index([(1 / 0.02 + 1 / 0.023) / 2, 1 / 0.047, 0.0])
    )


def test_fairness_is_that_of_users_and_counts_what_was_given_up(
    once: pd.DataFrame, traffic: Traffic
) -> None:
    found = _columns(once, traffic)
    assert found["fairness"] == pytest.approx(jain_index([1 / 0.02, 1 / 0.04, 0.0]))


def test_an_emulation_that_answers_nothing_has_no_latency(
    once: pd.DataFrame, traffic: Traffic
) -> None:
    found = _columns(once.assign(received=False), traffic, station_ms=5.0)
    assert found["answered_fraction"] == found["answers_per_s"] == 0
    assert found["latency_ms"] is found["latency_p99_ms"] is found["fairness"] is None


def test_a_deadline_is_met_if_one_question_in_twenty_is_late_at_most() -> None:
    """Though their mean may be in time, or may not."""
    punctual: list[float | None] = [1.0] * 95
    for late in ([1e6] * 5, [None] * 5, [math.nan] * 4 + [501.0]):
        found = lateness(500.0, [*punctual, *late])
        assert found == {"late_fraction": 0.05, "meets_deadline": True}
    found = lateness(500.0, [*punctual, *[501.0] * 6])
    assert found == {"late_fraction": pytest.approx(6 / 101), "meets_deadline": False}
    assert lateness(None, [None]) == {"late_fraction": None, "meets_deadline": True}
    assert lateness(500.0, [500.0]) == {"late_fraction": 0.0, "meets_deadline": True}


def test_losses_are_told_apart_by_the_first_cause_that_is_enough() -> None:
    """Over two streams, of one of which a transmission was not sent."""
    journal = pd.DataFrame(
        {
            "stream": ["question"] * 5 + ["sound"] * 5,
            "device": ["text"] * 5 + ["audio"] * 5,
            "sent": [True] * 9 + [False],
            "lost": [True, True, True, False, False, True, True, True, False, False],
            "realised_sinr_db": [-9.0, -9.0, 8.0, 8.0, 8.0, 8.0, 8.0, -9.0, 8.0, -math.inf],
            "ends_ms": [1.0, 9.0, 1.0, 1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 0.0],
        }
    )
    faults = Faults(outage_sinr_db=0.0, deadline_ms=5.0, straggler_prob=0.5)
    found = loss_fractions(journal, faults, {})
    assert found == pytest.approx(
        {
            "lost_outage_fraction": (2 / 5 + 1 / 4) / 2,
            "lost_deadline_fraction": (0 / 5 + 1 / 4) / 2,
            "lost_straggler_fraction": (1 / 5 + 1 / 4) / 2,
        }
    )
    nothing = loss_fractions(journal.assign(sent=False, lost=False), faults, {})
    assert set(nothing.values()) == {0.0}  # all devices of everybody are missing
    everything = journal[journal["sent"]].groupby("stream")["lost"].mean().mean()
    assert sum(found.values()) == pytest.approx(everything)
    assert set(loss_fractions(journal.assign(lost=False), Faults(), {}).values()) == {0}
    slow = loss_fractions(journal, faults, {"audio": 4.5})  # all that it sends is late by itself
    assert slow["lost_outage_fraction"] == found["lost_outage_fraction"]
    assert slow["lost_deadline_fraction"] == pytest.approx((0 / 5 + 2 / 4) / 2)
    assert slow["lost_straggler_fraction"] == pytest.approx((1 / 5 + 0 / 4) / 2)


def test_the_screen_shows_the_mean_of_seeds() -> None:
    layout = layout_of(Study(name="s"))
    condition = {**dict.fromkeys(layout.condition, 4.0), "method": "aligned", "air": "umi"}
    condition |= {"eval_snr_db": math.nan, "deadline_ms": math.nan}
    seed = {
        "users": 40, "answered_fraction": 0.9, "transmissions": 1.2, "latency_ms": 30.0,
        "latency_p50_ms": 20.0, "latency_p95_ms": 60.0, "latency_p99_ms": 80.0,
        "answers_per_s": 5.0, "fairness": 0.8, "lost_outage_fraction": 0.1,
        "lost_deadline_fraction": 0.0, "lost_straggler_fraction": 0.02, "late_fraction": math.nan,
    }  # fmt: skip
    other = {**seed, "latency_p50_ms": 22.0, "fairness": 0.7}
    reference = {**dict.fromkeys(seed, 1.0), "users": 1, "answers_per_s": math.nan}
    service = summarise_service(
        pd.DataFrame([{**condition, **row} for row in (seed, other, reference)]), layout
    )
    assert len(service) == 1
    shown = ["aligned", "umi", "-", "4+4", ".900", "21.0/60.0/80.0"]
    assert _shown(service, layout) == [*shown, ".750", ".100/.000/.020"]
    held = service.assign(deadline_ms=70.0, late_fraction=0.04)
    assert _shown(held, layout) == [*shown, ".040", ".750", ".100/.000/.020"]


def _shown(service: pd.DataFrame, layout: TableLayout) -> list[str]:
    """The words of the last row on the screen."""
    text = screen_text(service_table(service, layout), width=90)
    return text.strip().splitlines()[-1].split()


def test_the_title_of_the_picture_counts_the_users_that_it_shows() -> None:
    devices = pd.DataFrame(
        {
            "user": [0, 1, 2], "device": "text", "realised_sinr_db": [3.0, 10.0, math.nan],
            "accuracy": [0.0, 1.0, 0.0], "questions": 1, "x_m": math.nan, "y_m": math.nan,
        }
    )  # fmt: skip
    answers = pd.DataFrame({"user": [0, 1, 2], "media_id": ["a", "b", "c"], "right": [0, 1, 0]})
    some = users_of(devices, answers, "x")
    assert users_figure(some).get_suptitle() == some.heading == "2 of 3 users who asked: x"
    received = devices.fillna({"realised_sinr_db": 1.0})
    assert users_of(received, answers, "x").heading == "3 users who asked: x"


@pytest.mark.parametrize(("sinrs_db", "bins"), [([7.0] * 9, 1), ([7.0], 1), (range(12), 6)])
def test_answers_are_shown_by_sinr_also_where_all_have_one(
    sinrs_db: Sequence[float], bins: int
) -> None:
    count = len(sinrs_db)
    devices = pd.DataFrame(
        {
            "user": range(count), "device": "text", "realised_sinr_db": sinrs_db,
            "accuracy": 1.0, "questions": 1, "x_m": math.nan, "y_m": math.nan,
        }
    )  # fmt: skip
    answers = pd.DataFrame({"user": range(count), "media_id": "a", "right": 1.0})
    found = users_of(devices, answers, "x").bins
    assert list(found["accuracy"]) == [1.0] * bins


@pytest.mark.parametrize("noisy", [0, 3])
def test_users_without_noise_are_shown_to_the_right(noisy: int) -> None:
    """Also all of them; a user of whom nothing arrived is still left out."""
    sinrs_db = [*map(float, range(noisy)), *[math.inf] * 4, -math.inf]
    count = len(sinrs_db)
    devices = pd.DataFrame(
        {
            "user": range(count), "device": "text", "realised_sinr_db": sinrs_db,
            "accuracy": 1.0, "questions": 1, "x_m": range(count), "y_m": 0.0,
        }
    )  # fmt: skip
    answers = pd.DataFrame({"user": range(count), "media_id": "a", "right": 1.0})
    users = users_of(devices, answers, "x")
    assert users.heading == f"{count - 1} of {count} users who asked: x"
    figure = users_figure(users)
    figure.draw_without_rendering()
    _, accuracy, distribution, *_ = figure.axes
    for panel in (accuracy, distribution):
        assert [label.get_text() for label in panel.get_xticklabels()][-1] == "\N{INFINITY}"
    drawn = draw_users(users)
    for own in drawn:
        Figure(own)  # plotly knows every key
        assert "Infinity" not in json.dumps(own["data"])
    line = drawn[-1]["data"][0]
    assert line["x"] == pytest.approx([*range(noisy), *[max(noisy - 1, 0) + 5] * 4])
    assert line["hovertext"][-1] == "\N{INFINITY} dB"
    assert drawn[-1]["layout"]["xaxis"]["ticktext"][-1] == "\N{INFINITY}"


def test_the_map_on_the_page_shows_every_user_who_was_received() -> None:
    count = 40
    rng = np.random.default_rng(0)
    devices = pd.DataFrame(
        {
            "user": range(count), "device": "text", "realised_sinr_db": rng.normal(10, 5, count),
            "accuracy": [i % 3 / 2 for i in range(count)], "questions": 2,
            "x_m": rng.normal(0, 50, count), "y_m": rng.normal(0, 50, count),
        }
    )  # fmt: skip
    users_asked = [user for user in range(count) for _ in range(2)]
    answers = pd.DataFrame({"user": users_asked, "media_id": "a", "right": [0.0, 1.0] * count})
    lost = devices.assign(realised_sinr_db=devices["realised_sinr_db"].mask(devices["user"] < 4))
    for own, shown in ((devices, count), (lost, count - 4)):
        users = users_of(own, answers, "x", (300.0, 400.0))
        places, accuracy, distribution = draw_users(users)
        *people, station = places["data"]
        assert sum(len(trace["x"]) for trace in people) == shown
        assert (station["x"], station["y"]) == ([300], [400])
        assert len(distribution["data"][0]["x"]) == shown
        assert distribution["data"][0]["y"][-1] == 1
        assert all(0 <= y <= 1 for y in accuracy["data"][0]["y"])
        for figure in (places, accuracy, distribution):
            Figure(figure)  # plotly knows every key
    (where, *_) = draw_users(users_of(devices, answers, "x"))
    assert [trace["name"] for trace in where["data"]] == [trace["name"] for trace in people]
    assert len(draw_users(users_of(devices.assign(x_m=math.nan), answers, "x"))) == 2
    nobody = users_of(devices.assign(realised_sinr_db=math.nan), answers, "x")
    assert nobody.heading == "0 of 40 users who asked: x"
    assert len(draw_users(nobody)) == 2
    users_figure(nobody)
