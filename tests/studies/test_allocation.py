"""Users at different SNRs share a band: resource blocks, token lengths, accuracy to expect."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import studies
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.storage.folder import StudyFolder
from studies.tables.knapsack import apportioned, max_min, most_accurate

from .outcomes import finish

BLOCK_HZ = 360e3
USERS_DB = [0.0, 5.0, 18.0]
MEAN = ["accuracy", "accuracy_low", "accuracy_high"]


def _accuracy(cell: Cell, snr_db: float) -> float:
    """Long tokens pay at a high SNR alone, the longest at none."""
    longer = {4: 0.0, 16: 0.15, 48: 0.1}[cell.trained.tokens.get("audio", 4)]
    return 0.4 + 0.1 * (cell.method == "aligned") + longer * (snr_db > 0)


def _finished(folder: Path, **keys: Any) -> Path:
    lengths = [{"audio": n, "vision": n} for n in (4, 16, 48)]
    grid = {"methods": ["aligned", "unaligned"], "eval_snr_db": [0, 10], "tokens": lengths}
    study = Study(**{"name": "shared", "seeds": [0, 1, 2], **grid, **keys})
    finish(study, StudyFolder(folder), _accuracy)
    return folder


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(tmp_path_factory.mktemp("shared"))


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


def test_blocks_go_by_largest_remainder() -> None:
    assert apportioned([1, 1, 1], 12) == (4, 4, 4)
    assert apportioned([1, 1, 1], 14) == (5, 5, 4)
    assert apportioned([3, 1, 1], 13) == (8, 3, 2)  # 7.8, 2.6 and 2.6


def test_users_on_equal_blocks_have_what_a_budget_says(out: Path) -> None:
    """Each of three has 4 of 13 blocks, and the accuracy of the next lower evaluated SNR."""
    found = studies.allocate(out, 13 * BLOCK_HZ, 8.0, USERS_DB, "equal")
    assert found["resource_blocks"].tolist() == [4, 4, 4]
    assert found["bandwidth_hz"].tolist() == [4 * BLOCK_HZ] * 3
    assert found["eval_snr_db"].tolist() == [0, 0, 10]
    for row in found.to_dict("records"):
        alone = studies.budget(out, 13 * BLOCK_HZ, 8.0, row["snr_db"], users=3).iloc[0]
        same = ["method", "tokens_audio", *MEAN, "airtime_ms", "energy_mj"]
        assert [row[name] for name in same] == alone[same].tolist()
    assert (found["airtime_ms"] <= 8.0).all()


def test_blocks_in_proportion_follow_what_each_user_would_send(out: Path) -> None:
    """Alone, the user at 10 dB sends 16 tokens of each modality, the one at 0 dB four."""
    deadline_ms, total = 20.0, 20
    uses = [
        studies.budget(out, total * BLOCK_HZ, deadline_ms, snr_db)["uplink_channel_uses"].iloc[0]
        for snr_db in (0, 10)
    ]
    assert uses[1] > 2 * uses[0]
    found = studies.allocate(out, total * BLOCK_HZ, deadline_ms, [0, 10], "proportional")
    near = round(total * uses[1] / sum(uses))
    assert found["resource_blocks"].tolist() == [total - near, near]


@pytest.mark.parametrize("blocks", [9, 13, 20, 30])
def test_no_allocation_is_more_accurate_than_the_most_accurate_one(out: Path, blocks: int) -> None:
    """Users of one SNR as well; max-min never leaves the worst one worse than others do."""
    by = {
        policy: studies.allocate(out, blocks * BLOCK_HZ, 12.0, [0, 10, 10], policy)  # type: ignore[arg-type]
        for policy in ("equal", "accuracy", "max-min")
    }
    mean = {policy: found["accuracy"].mean() for policy, found in by.items()}
    worst = {policy: found["accuracy"].min() for policy, found in by.items()}
    assert mean["accuracy"] >= max(mean.values()) - 1e-12
    assert worst["max-min"] == max(worst.values())
    for found in by.values():
        assert found["resource_blocks"].sum() <= blocks
        assert (found["airtime_ms"] <= 12.0).all()


def test_what_a_far_user_leaves_makes_a_near_one_more_accurate(out: Path) -> None:
    """Five blocks each carry four tokens; the near user needs seven for sixteen."""
    equal = studies.allocate(out, 10 * BLOCK_HZ, 12.0, [0, 10], "equal")
    best = studies.allocate(out, 10 * BLOCK_HZ, 12.0, [0, 10])
    assert equal["tokens_audio"].tolist() == [4, 4]
    assert best["tokens_audio"].tolist() == [4, 16]
    assert best["accuracy"].iloc[1] > equal["accuracy"].iloc[1]
    assert best["accuracy"].iloc[0] == equal["accuracy"].iloc[0]


def test_one_method_may_be_asked_for(out: Path) -> None:
    found = studies.allocate(out, 20 * BLOCK_HZ, 12.0, USERS_DB, method="unaligned")
    assert set(found["method"]) == {"unaligned"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"users_snr_db": []}, "users_snr_db should name the SNR of one user at least"),
        ({"users_snr_db": [0, -3]}, "snr_db -3 is below all evaluated ones, from 0 on"),
        ({"by": "fair"}, "by 'fair' should be one of equal, proportional, accuracy, max-min"),
        ({"method": "blind"}, "no finished cell of the method 'blind'; there are: aligned"),
        ({"air": "umi"}, "no finished cell of the air 'umi'; there are: awgn"),
        ({"bandwidth_hz": -1}, "bandwidth_hz -1 should be positive"),
        ({"deadline_ms": 0}, "deadline_ms 0 should be positive"),
        ({"deadline_ms": 0.01}, r"a user at 0 dB alone: .* the shortest takes [\d.]+ ms"),
        (
            {"bandwidth_hz": 8 * BLOCK_HZ},
            r"users at 0, 10, 10 dB need 3, 3, 3 resource blocks for deadline_ms 12, 9 in all, and "
            r"bandwidth_hz 2.88e\+06 has 8; take 3.24e\+06 or more, or a longer deadline_ms",
        ),
        (
            {"bandwidth_hz": 9 * BLOCK_HZ, "by": "proportional"},
            r"by proportional, user 1 at 0 dB has \d of the 9 resource blocks and needs 3 for "
            "deadline_ms 12; take by accuracy, which serves all, or more bandwidth_hz",
        ),
    ],
)
def test_nobody_is_left_out_silently(out: Path, asked: dict[str, Any], message: str) -> None:
    band = {"bandwidth_hz": 20 * BLOCK_HZ, "deadline_ms": 12.0, "users_snr_db": [0, 10, 10]}
    with pytest.raises(ValueError, match=message):
        studies.allocate(out, **{**band, **asked})


def test_an_snr_should_be_that_of_one_air_and_of_any_blocks(tmp_path: Path) -> None:
    several = _finished(tmp_path / "airs", airs=["awgn", "rayleigh"], seeds=[0])
    with pytest.raises(ValueError, match="users need one air; take one of awgn, rayleigh"):
        studies.allocate(several, 1e7, 20.0, [0])
    assert set(studies.allocate(several, 1e7, 20.0, [0], air="rayleigh")["air"]) == {"rayleigh"}
    cell = _finished(tmp_path / "cell", airs=["umi"], seeds=[0])
    with pytest.raises(ValueError, match="no finished cell on an air that is evaluated by SNR"):
        studies.allocate(cell, 1e7, 20.0, [0])
    narrow = _finished(tmp_path / "power", power_mode="fixed_power", seeds=[0])
    with pytest.raises(ValueError, match="the SNR of a user depends on its blocks"):
        studies.allocate(narrow, 1e7, 20.0, [0])


def test_the_command_shows_each_user_and_the_mean(
    out: Path, shown: Callable[..., str], refused: Callable[..., str]
) -> None:
    band = ("allocate", out, "--bandwidth", 20 * BLOCK_HZ, "--deadline", 12)
    snrs = [part for snr_db in USERS_DB for part in ("--snr", snr_db)]
    said = shown(*band, *snrs)
    rows = [line.split() for line in said.splitlines() if "aligned" in line]
    assert [row[:2] for row in rows] == [["1", "0"], ["2", "5"], ["3", "18"]]
    mean = studies.allocate(out, 20 * BLOCK_HZ, 12.0, USERS_DB)[MEAN].mean()
    accuracy, low, high = (f"{value:.3f}".removeprefix("0") for value in mean)
    assert f"mean accuracy of the users {accuracy} [{low}, {high}]" in " ".join(said.split())
    assert "of 20 resource blocks" in said
    assert refused(*band, "--snr", 0, "--by", "luck").startswith("tokcom: by 'luck' should be")
    assert "Missing option '--snr'" in refused(*band)
