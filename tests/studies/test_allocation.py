"""Users at different SNRs share a band: resource blocks, token lengths, accuracy to expect."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import studies
from studies.execution.finished import findings_of
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.affordable import LinkLimits, affordable, measured
from studies.tables.allocation import SharedBand, allocate, candidates
from studies.tables.knapsack import apportioned, max_min, most_accurate
from studies.tables.layout import layout_of

from .outcomes import finish

BLOCK_HZ = 360e3
MEAN = ["accuracy", "accuracy_low", "accuracy_high"]
STUDY = Study(
    name="shared",
    methods=["aligned", "unaligned"],
    eval_snr_db=[0, 10],
    tokens=[{"audio": n, "vision": n} for n in (4, 16, 48)],
    seeds=[0, 1, 2],
)
LAYOUT = layout_of(STUDY)


def _accuracy(cell: Cell, snr_db: float) -> float:
    """At 10 dB alone longer tokens are better, but not the longest."""
    longer = {4: 0.0, 16: 0.15, 48: 0.1}[cell.trained.tokens.get("audio", 4)]
    return 0.4 + 0.1 * (cell.method == "aligned") + longer * (snr_db > 0)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    finish(STUDY, StudyFolder(folder), _accuracy)
    return folder


@pytest.fixture(scope="module")
def summary(out: Path) -> pd.DataFrame:
    """Four tokens took 0.5 ms on the study's four blocks of each device."""
    table = measured(findings_of(out))
    airtime_ms = table["tokens_audio"] / 8
    return table.assign(airtime_ms=airtime_ms, latency_ms=airtime_ms)


def _shared(
    summary: pd.DataFrame, blocks: int, users_snr_db: tuple[float, ...], by: Any, **keys: float
) -> pd.DataFrame:
    """What users have of so many blocks, within 3 ms unless told otherwise.

    Each device of a user with 3, 6, 9 or 12 blocks has a fourth, half, 3/4 or all of those of the
    study: four tokens are in time on 3 of them, sixteen on 9.
    """
    band = SharedBand(blocks * BLOCK_HZ, keys.get("deadline_ms", 3.0), users_snr_db, by)
    return allocate(STUDY, candidates(summary, LAYOUT, None, None), LAYOUT, band)


@pytest.mark.parametrize("seed", range(20))
def test_blocks_are_those_that_trying_all_would_find(seed: int) -> None:
    rng = random.Random(seed)
    users = []
    for _ in range(rng.randint(1, 4)):
        blocks = sorted(rng.sample(range(1, 9), rng.randint(1, 4)))
        accuracies = sorted(rng.sample(range(100), len(blocks)))
        users.append({n: a / 128 for n, a in zip(blocks, accuracies, strict=True)})
    total = sum(map(min, users)) + rng.randint(0, 8)
    possible = [taken for taken in product(*users) if sum(taken) <= total]

    def reached(taken: tuple[int, ...]) -> list[float]:
        return [user[blocks] for user, blocks in zip(users, taken, strict=True)]

    mean = max(possible, key=lambda taken: (sum(reached(taken)), -sum(taken)))
    found = most_accurate(users, total)
    assert (sum(reached(found)), sum(found)) == (sum(reached(mean)), sum(mean))
    fair = max(possible, key=lambda taken: (min(reached(taken)), sum(reached(taken))))
    found = max_min(users, total)
    assert (min(reached(found)), sum(reached(found))) == (min(reached(fair)), sum(reached(fair)))


def test_of_equal_sums_the_fewest_blocks_count() -> None:
    """Also where .7 + .1 is less than .6 + .2 to a computer."""
    assert most_accurate([{1: 0.6, 2: 0.7}, {1: 0.1, 3: 0.2}], 4) == (2, 1)


def test_blocks_go_by_largest_remainder() -> None:
    assert apportioned([1, 1, 1], 12) == (4, 4, 4)
    assert apportioned([1, 1, 1], 14) == (5, 5, 4)
    assert apportioned([3, 1, 1], 13) == (8, 3, 2)  # 7.8, 2.6 and 2.6


def test_users_on_equal_blocks_have_what_a_budget_says(summary: pd.DataFrame) -> None:
    """Each of three has 4 of 13 blocks, and the accuracy of the next lower evaluated SNR."""
    found = _shared(summary, 13, (0.0, 5.0, 18.0), "equal", deadline_ms=9.0)
    assert found["resource_blocks"].tolist() == [4, 4, 4]
    assert found["bandwidth_hz"].tolist() == [4 * BLOCK_HZ] * 3
    assert found["eval_snr_db"].tolist() == [0, 0, 10]
    assert found["tokens_audio"].tolist() == [4, 4, 16]
    for row in found.to_dict("records"):
        limits = LinkLimits(13 * BLOCK_HZ, 9.0, row["snr_db"], users=3)
        alone = affordable(STUDY, summary, LAYOUT, limits).iloc[0]
        same = ["method", "tokens_audio", *MEAN, "airtime_ms", "energy_mj"]
        assert [row[name] for name in same] == alone[same].tolist()


def test_what_was_measured_at_fewer_snrs_does_not_hide_what_is_more_accurate(
    summary: pd.DataFrame,
) -> None:
    """At one bandwidth, a method lacks the higher SNR; at the other one all have it."""
    missing = summary["method"].eq("aligned") & summary["eval_snr_db"].eq(10)
    both = pd.concat([summary[~missing], summary.assign(bandwidth_hz=2e6)], ignore_index=True)
    limits = LinkLimits(12 * BLOCK_HZ, 99.0, 10.0)
    listed = affordable(STUDY, both, LAYOUT, limits)
    assert len(listed) == len(both) / 2 + missing.sum() / 2
    snrs_db = listed.groupby(["method", "bandwidth_hz"])["eval_snr_db"].unique()
    assert [own.tolist() for own in snrs_db] == [[10], [0], [10], [10]]
    (chosen,) = _shared(both, 12, (10.0,), "accuracy", deadline_ms=99.0).to_dict("records")
    assert (chosen["method"], chosen["eval_snr_db"]) == ("aligned", 10)
    assert chosen["accuracy"] == listed["accuracy"].max() > listed["accuracy"].iloc[0]


def test_a_narrower_share_takes_longer_and_more_energy(summary: pd.DataFrame) -> None:
    narrow, wide = (_shared(summary, n, (0.0,), "equal").iloc[0] for n in (3, 12))
    assert narrow["airtime_ms"] > 3 * wide["airtime_ms"]
    assert narrow["energy_mj"] > 3 * wide["energy_mj"]


def test_blocks_in_proportion_follow_what_each_user_would_send(summary: pd.DataFrame) -> None:
    """Alone, the user at 0 dB sends 8 + 4 + 4 tokens, the one at 10 dB 8 + 16 + 16."""
    found = _shared(summary, 14, (0.0, 10.0), "proportional")
    assert found["uplink_channel_uses"].tolist() == [16 * 64, 40 * 64]
    assert found["resource_blocks"].tolist() == [4, 10]


def test_what_a_far_user_leaves_makes_a_near_one_more_accurate(summary: pd.DataFrame) -> None:
    equal = _shared(summary, 12, (0.0, 10.0), "equal")
    assert equal["resource_blocks"].tolist() == [6, 6]
    assert equal["tokens_audio"].tolist() == [4, 4]
    best = _shared(summary, 12, (0.0, 10.0), "accuracy")
    assert best["resource_blocks"].tolist() == [3, 9]
    assert best["tokens_audio"].tolist() == [4, 16]
    assert best["accuracy"].iloc[0] == equal["accuracy"].iloc[0]
    assert best["accuracy"].iloc[1] > equal["accuracy"].iloc[1]


@pytest.mark.parametrize("blocks", [9, 21])
def test_no_allocation_is_more_accurate_than_the_most_accurate_one(
    summary: pd.DataFrame, blocks: int
) -> None:
    """Nor does any leave the worst user better than max-min."""
    by = {
        policy: _shared(summary, blocks, (0.0, 10.0, 10.0), policy)
        for policy in ("equal", "accuracy", "max-min")
    }
    mean = {policy: found["accuracy"].mean() for policy, found in by.items()}
    worst = {policy: found["accuracy"].min() for policy, found in by.items()}
    assert mean["accuracy"] >= max(mean.values()) - 1e-12
    assert worst["max-min"] == max(worst.values())
    for found in by.values():
        assert found["resource_blocks"].sum() <= blocks
        assert (found["airtime_ms"] <= 3.0).all()


@pytest.mark.parametrize(
    ("blocks", "asked", "message"),
    [
        (20, {"users_snr_db": ()}, "users_snr_db should name the SNR of one user at least"),
        (20, {"users_snr_db": (0, -3)}, "snr_db -3 is below all evaluated ones, from 0 on"),
        (20, {"by": "fair"}, "by 'fair' should be one of equal, proportional, accuracy, max-min"),
        (-1, {}, "bandwidth_hz -360000 should be positive"),
        (20, {"deadline_ms": 0}, "deadline_ms 0 should be positive"),
        (20, {"deadline_ms": -1.0}, "deadline_ms -1 should be positive"),
        (20, {"deadline_ms": 0.01}, r"a user at 0 dB alone: .* the shortest takes [\d.]+ ms"),
        (
            8,
            {},
            r"users at 0, 10, 10 dB need 3, 3, 3 resource blocks for deadline_ms 3, 9 in all, and "
            r"bandwidth_hz 2.88e\+06 has 8; take 3.24e\+06 or more, or a longer deadline_ms",
        ),
        (
            9,
            {"by": "proportional"},
            "by proportional, user 1 at 0 dB has 1 of the 9 resource blocks and needs 3 for "
            "deadline_ms 3; take by accuracy, which serves all, or more bandwidth_hz",
        ),
    ],
)
def test_nobody_is_left_out_silently(
    summary: pd.DataFrame, blocks: int, asked: dict[str, Any], message: str
) -> None:
    band: dict[str, Any] = {"users_snr_db": (0, 10, 10), "by": "accuracy", **asked}
    with pytest.raises(ValueError, match=message):
        _shared(summary, blocks, **band)


def test_a_band_without_a_block_says_what_each_user_needs(summary: pd.DataFrame) -> None:
    band = SharedBand(0.5 * BLOCK_HZ, 3.0, (10.0, 10.0), "accuracy")
    with pytest.raises(ValueError, match="6 in all, and bandwidth_hz 180000 has 0; take"):
        allocate(STUDY, candidates(summary, LAYOUT, None, None), LAYOUT, band)


def test_a_band_is_finite() -> None:
    with pytest.raises(ValueError, match="bandwidth_hz inf should be positive and finite"):
        SharedBand(math.inf, 3.0, (0.0,))


def test_users_choose_from_one_air_that_takes_an_snr(summary: pd.DataFrame) -> None:
    assert set(candidates(summary, LAYOUT, "unaligned", None)["method"]) == {"unaligned"}
    with pytest.raises(ValueError, match="no finished cell of the method 'blind'; there are: a"):
        candidates(summary, LAYOUT, "blind", None)
    both = pd.concat([summary, summary.assign(air="rayleigh")])
    assert set(candidates(both, LAYOUT, None, "rayleigh")["air"]) == {"rayleigh"}
    with pytest.raises(ValueError, match="users need one air; take one of awgn, rayleigh"):
        candidates(both, LAYOUT, None, None)
    with pytest.raises(ValueError, match="no finished cell of the air 'umi'; there are: awgn"):
        candidates(both, LAYOUT, None, "umi")
    with pytest.raises(ValueError, match="no finished cell on an air that is evaluated by SNR"):
        candidates(summary.assign(eval_snr_db=math.nan), LAYOUT, None, None)


def test_a_budgets_snr_is_what_is_received(summary: pd.DataFrame) -> None:
    """With the power of 2.5 MHz in 5 MHz, 10 dB are received as 7."""
    power = {"power_mode": "fixed_power", "reference_bandwidth_hz": 2.5e6}
    for snr_db, evaluated_db in ((6.9, 0), (7.1, 10)):
        limits = LinkLimits(5e6, 9.0, snr_db)
        found = affordable(STUDY.model_copy(update=power), summary, LAYOUT, limits)
        assert set(found["eval_snr_db"]) == {evaluated_db}


def test_an_snr_should_not_depend_on_the_blocks(summary: pd.DataFrame) -> None:
    study = STUDY.model_copy(update={"power_mode": "fixed_power"})
    with pytest.raises(ValueError, match="the SNR of a user depends on its blocks"):
        allocate(study, summary, LAYOUT, SharedBand(5e6, 3.0, (0.0,)))


def test_emulated_users_have_no_blocks_of_their_own(summary: pd.DataFrame) -> None:
    study = Study(**{**STUDY.model_dump(), "emulate": {"users": 7}})
    with pytest.raises(ValueError, match="allocate takes studies without emulate"):
        allocate(study, summary, LAYOUT, SharedBand(5e6, 3.0, (0.0,)))


def test_the_command_shows_each_user_and_the_mean(
    out: Path, shown: Callable[..., str], refused: Callable[..., str]
) -> None:
    band = ("allocate", out, "--bandwidth", 7.2e6, "--deadline", 12)
    said = shown(*band, "--snr", 0, "--snr", 5, "--snr", 18)
    rows = [line.split() for line in said.splitlines() if "aligned" in line]
    assert [row[:2] for row in rows] == [["1", "0"], ["2", "5"], ["3", "18"]]
    mean = studies.allocate(out, 7.2e6, 12.0, [0, 5, 18])[MEAN].mean()
    accuracy, low, high = (f"{value:.3f}".removeprefix("0") for value in mean)
    assert f"mean accuracy of the users {accuracy} [{low}, {high}]" in " ".join(said.split())
    assert "audio+vision tokens" in said
    assert "of 20 resource blocks" in said
    assert "'luck' is not one of 'equal', " in refused(*band, "--snr", 0, "--by", "luck")
    assert "Missing option '--snr'" in refused(*band)
