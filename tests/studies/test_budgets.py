"""What a bandwidth, a deadline and a power mode buy."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pytest

from actors import airtime_ms, interval_s
from channel_models import DigitalConfig, Link
from studies.plan.budgets import Budget, fit, loss_at_bandwidth_db, meets
from studies.plan.contenders import Contender
from studies.plan.operations import served_streams
from studies.plan.study import Study
from tokcom_core.checkpoints import POCKET, resolve
from tokcom_core.systems import Stream
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa

from .here import run_here
from .small import ours, planned, small_study

_LONG = {"audio": 48, "vision": 48}


def test_fit_takes_the_longest_tokens_that_meet_the_deadline() -> None:
    link, system = Link(bandwidth_hz=5e6), Mlms()
    method = Contender("aligned", system, {})

    def airtime(audio: int, vision: int) -> float:
        lengths = {"audio": audio, "vision": vision}
        return airtime_ms(link, served_streams(system, Avqa(), lengths))

    def fitted(deadline_ms: float) -> dict[str, int]:
        study = Study(name="s", deadline_policy="fit", deadline_ms=100.0)
        budget = Budget(5e6, 23.0, deadline_ms, None, DigitalConfig(), _LONG)
        return fit(study, method, budget, link)

    assert fitted(1e3) == _LONG
    # The text device sends up to 32 tokens, so that less than those would not be met any sooner.
    deadline_ms = airtime(40, 40)
    found = fitted(deadline_ms)
    assert found["audio"] == found["vision"] >= 40
    assert airtime(**found) <= deadline_ms
    assert airtime(found["audio"] + 1, found["vision"] + 1) > deadline_ms


def test_fit_counts_encoding_and_sharing_the_band() -> None:
    """Devices encode at the same time, so that the slowest one's time counts: that of vision."""
    system, asked = Mlms(), _LONG

    def airtime(count: int, link: Link) -> float:
        return airtime_ms(link, served_streams(system, Avqa(), dict.fromkeys(asked, count)))

    def encoding(count: int) -> float:
        lengths = dict.fromkeys(asked, count)
        audio, vision = (system.device_gflop(Avqa(), d, lengths, {d: 1.0}, lengths) for d in asked)
        assert vision > 2 * audio
        return 1e3 * vision / 80

    def fitted(**keys: Any) -> int:
        study = {"tokens": asked, "deadline_ms": 3.3, "deadline_policy": "fit", **keys}
        (cell,) = ours(planned(methods=["aligned"], **study)[1])
        return cell.trained.tokens["audio"]

    assert fitted() == 48
    slow = fitted(compute={"device_gflops": 80})
    whole, half = Link(bandwidth_hz=5e6), Link(bandwidth_hz=2.5e6)
    assert encoding(slow) + airtime(slow, whole) <= 3.3
    assert encoding(slow + 1) + airtime(slow + 1, whole) > 3.3
    shared = fitted(emulate={"users_at_once": 2}, deadline_ms=4.5)
    assert airtime(shared, half) <= 4.5 < airtime(shared + 1, half)
    assert shared < 48
    with pytest.raises(ValueError, match=r"take 10.5 ms, 8.67 ms of them encoding, at 5e\+06"):
        fitted(compute={"device_gflops": 10})


def test_fit_counts_what_the_base_station_computes() -> None:
    """For the longest question, also among users who send in whole intervals."""
    system, link, compute = Mlms(), Link(bandwidth_hz=5e6), {"station_gflops": 50}

    def streams(count: int) -> tuple[Stream, ...]:
        return served_streams(system, Avqa(), dict.fromkeys(_LONG, count))

    def answering(count: int) -> float:
        tokens = {**dict.fromkeys(_LONG, count), "text": system.question_tokens}
        return 1e3 * system.station_gflop(Avqa(), tokens) / 50

    def alone(count: int) -> float:
        return airtime_ms(link, streams(count)) + answering(count)

    def among_others(count: int) -> float:
        return 1e3 * interval_s(Link(bandwidth_hz=2.5e6), streams(count)) + answering(count)

    def fitted(**keys: Any) -> int:
        study = {"tokens": _LONG, "deadline_policy": "fit", **keys}
        (cell,) = ours(planned(methods=["aligned"], **study)[1])
        return cell.trained.tokens["audio"]

    assert fitted(deadline_ms=4.5) == 48
    found = fitted(deadline_ms=4.5, compute=compute)
    assert alone(found) <= 4.5 < alone(found + 1)
    found = fitted(deadline_ms=8, compute=compute, emulate={"users_at_once": 2})
    assert among_others(found) <= 8 < among_others(found + 1)
    said = r"take 3.26 ms, 1.44 ms of them at the base station, at 5e\+06"
    with pytest.raises(ValueError, match=said):
        fitted(deadline_ms=2.0, compute=compute)


def test_fit_reads_no_weights(tmp_path: Path) -> None:
    """A plan may be made before large checkpoints are there, of which it has the configurations."""
    language = tmp_path / "language"
    copytree(resolve(POCKET, "language"), language, ignore=ignore_patterns("*.safetensors"))
    assert (language / "config.json").exists()
    keys = {"methods": ["aligned"], "tokens": _LONG, "compute": {"station_gflops": 50}}
    keys |= {"deadline_policy": "fit", "deadline_ms": 4.5}
    (bare,) = ours(planned(**keys, systems={"mlms": {"models": {"language": str(language)}}})[1])
    (whole,) = ours(planned(**keys)[1])
    assert bare.trained.tokens == whole.trained.tokens


def test_fitted_lengths_meet_their_deadline(minimusic: Path, tmp_path: Path) -> None:
    study = small_study(
        data={"folder": str(minimusic)},
        airs=["awgn"],
        tokens=_LONG,
        deadline_ms=4.5,
        deadline_policy="fit",
        compute={"device_gflops": 200, "station_gflops": 50},
        evaluation={"questions": 8},
    )
    table = run_here(study, tmp_path / "out").set_index("method")
    row = table.loc["aligned"]
    assert row["status"] == "ok"
    assert row["latency_ms"] == row["device_ms"] + row["airtime_ms"] + row["station_ms"] <= 4.5
    assert row["meets_deadline"]
    assert row["station_ms"] > 0 < row["device_ms"]


def test_fit_counts_packets_of_a_fixed_mcs() -> None:
    """16-QAM of rate 490/1024: (2 * 64 * 4 + 16 + 16 CRC) / (4 * 0.4785) = 285 symbols a token."""
    keys = {"methods": ["digital"], "tokens": _LONG, "bandwidth_hz": 2e7}
    keys |= {"deadline_policy": "fit", "deadline_ms": 2.2}
    (cell,) = ours(planned(digital={"mcs": 7, "bits": 4}, **keys)[1])
    link, count = Link(bandwidth_hz=2e7), cell.trained.tokens["vision"]
    uses = DigitalConfig(mcs=7, bits=4).token_channel_uses(64)
    assert uses == 285
    blocks = link.blocks_per_device(3)
    assert count < 48
    assert link.cost(uses * count, blocks).airtime_ms <= 2.2
    assert link.cost(uses * (count + 1), blocks).airtime_ms > 2.2
    with pytest.raises(ValueError, match=r"'digital': .* adaptive .* take an MCS from 2 to 27"):
        planned(**keys)


def test_deadlines_share_what_is_trained_and_evaluated() -> None:
    """Unless "fit" gives them token lengths of their own."""
    keys = {"methods": ["aligned"], "deadline_ms": [1.9, 2.5, None], "tokens": _LONG}
    cells = ours(planned(**keys)[1])
    assert [cell.deadline_ms for cell in cells] == [1.9, 2.5, None]
    assert len({cell.key for cell in cells}) == 3
    assert len({cell.trained.key for cell in cells}) == 1
    assert len({cell.evaluation for cell in cells}) == 1
    fitted = ours(planned(deadline_policy="fit", **keys)[1])
    lengths = [cell.trained.tokens["audio"] for cell in fitted]
    assert lengths == sorted(set(lengths))
    assert len({cell.evaluation for cell in fitted}) == 3


def test_power_modes() -> None:
    fixed = Study(name="s", power_mode="fixed_power", reference_bandwidth_hz=5e6)
    assert loss_at_bandwidth_db(fixed, 10e6) == pytest.approx(3.0103, abs=1e-4)
    assert loss_at_bandwidth_db(fixed, 5e6) == 0.0
    assert loss_at_bandwidth_db(Study(name="s"), 10e6) == 0.0
    keys = {"bandwidth_hz": [5e6, 10e6], "eval_snr_db": [0, 10], "power_mode": "fixed_power"}
    narrow, wide = ours(planned(methods=["aligned"], **keys)[1])
    assert narrow.eval_snr_db == wide.eval_snr_db == narrow.eval_air_snr_db == (0, 10)
    assert wide.eval_air_snr_db == pytest.approx((-3.0103, 6.9897), abs=1e-4)


def test_fit_tries_every_length() -> None:
    """128 tokens are more than a hundred: 54 of them take exactly 3 ms on 48 subcarriers."""
    system, link = Mlms(), Link(bandwidth_hz=2.5e6)
    method = Contender("aligned", system, {})
    study = Study(name="s", deadline_policy="fit", deadline_ms=100.0)
    for count in (37, 41, 54, 97, 113):
        exact = airtime_ms(link, served_streams(system, Avqa(), {"audio": 1, "vision": count}))
        budget = Budget(2.5e6, 23.0, exact, None, DigitalConfig(), {"audio": 1, "vision": 128})
        found = fit(study, method, budget, link)["vision"]
        more = served_streams(system, Avqa(), {"audio": 1, "vision": found + 1})
        assert found >= count
        assert airtime_ms(link, more) > exact


def test_fit_takes_whole_grids_of_an_image() -> None:
    keys = {"task": "clevr", "data": {"miniclevr": {}}, "methods": ["taichi"]}
    keys |= {"tokens": {"terminal": 36}, "deadline_policy": "fit"}
    lengths = {
        deadline_ms: ours(planned(deadline_ms=deadline_ms, **keys)[1])[0].trained.tokens["terminal"]
        for deadline_ms in (0.23, 0.25, 1.0)
    }
    assert lengths == {0.23: 9, 0.25: 25, 1.0: 36}


def test_what_takes_as_long_as_the_deadline_meets_it() -> None:
    """A mean of 500 times 1.5 ms may end one bit above it."""
    assert meets(1.5, 1.5000000000000002)
    assert not meets(1.5, 1.5001)
    assert meets(None, None)
    assert not meets(1.5, None)
