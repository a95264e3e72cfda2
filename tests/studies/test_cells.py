"""Which cells a study has, what they share, and what a budget buys."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from channel_models import Link
from studies.execution.run import choose_learning_rates
from studies.plan.budgets import fit, interval_ms, snr_at_bandwidth
from studies.plan.cells import Plan
from studies.plan.study import Study, TokenBudget
from studies.storage.folder import StudyFolder


def _study(**keys: Any) -> Study:
    return Study(name="s", **keys)


def _plan(**keys: Any) -> tuple[Plan, list[Any]]:
    plan = Plan(_study(**keys))
    return plan, plan.cells(dict.fromkeys(plan.methods, 1e-3))


def test_a_grid_has_every_cell_once_and_one_floor_a_seed() -> None:
    _, cells = _plan(
        methods=["aligned", "unaligned"],
        airs=["awgn", "rayleigh"],
        seeds=[0, 1],
        tokens=[{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}],
    )
    assert len(cells) == len({c.key for c in cells}) == 2 * 2 * 2 * 2 + 2 * 2
    assert sum(c.method.floor for c in cells) == 4


def test_cells_share_their_stages() -> None:
    _, cells = _plan(methods=["aligned"], bandwidth_hz=[5e6, 10e6], eval_snr_db=[0, 10])
    ours = [c for c in cells if not c.method.floor]
    assert len(ours) == 2
    assert len({c.tuning.key for c in ours}) == 1  # fixed PSD: bandwidth only changes the airtime
    _, cells = _plan(methods=["aligned"], bandwidth_hz=[5e6, 10e6], power_mode="fixed_power")
    assert len({c.tuning.key for c in cells if not c.method.floor}) == 2


def test_another_budget_leaves_what_was_trained_as_it_is() -> None:
    _, few = _plan(methods=["aligned"], tokens=[{"audio": 4, "vision": 4}])
    _, more = _plan(
        methods=["aligned"], tokens=[{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}]
    )
    assert {c.key for c in few} <= {c.key for c in more}


def test_features_hold_just_the_token_lengths_of_the_cells() -> None:
    plan, _ = _plan(tokens=[{"audio": 2, "vision": 3}, {"audio": 3, "vision": 3}])
    counts = {f.modality: f.sliding.counts for f in plan.features()}
    assert counts == {"audio": (2, 3), "vision": (3,)}
    assert [(f.dataset, f.splits) for f in plan.features() if f.modality == "audio"] == [
        ("VALOR", ("align",)),
        ("MUSIC-AVQA", ("train", "val", "test")),
    ]


@pytest.mark.parametrize(
    ("key", "value", "changed"),
    [
        ("audio_span", "whole", {"audio"}),
        ("frames", "first", {"vision"}),
        ("vision_crop", "center", {"vision"}),
        ("slide", "all", {"audio", "vision"}),
        ("slide_rounding", "floor", {"audio", "vision"}),
        ("feature_dtype", "float32", {"audio", "vision"}),
    ],
)
def test_frozen_tokens_are_named_by_all_that_shapes_them(
    key: str, value: str, changed: set[str]
) -> None:
    usual, other = _plan()[0].features(), _plan(models={key: value})[0].features()
    pairs = zip(usual, other, strict=True)
    assert {a.modality for a, b in pairs if a.key != b.key} == changed
    assert _plan()[1][-1].tuning.key != _plan(models={key: value})[1][-1].tuning.key


def test_learning_rates_are_tried_only_where_there_is_a_choice() -> None:
    plan, _ = _plan()
    assert plan.candidates() == {}
    plan, _ = _plan(fine_tuning={"learning_rates": [1e-4, 1e-3]}, methods=["aligned"])
    tried = plan.candidates()
    assert set(tried) == {"aligned", "blind", "text-oracle"}
    assert all(len(specs) == 2 for specs in tried.values())


def test_a_learning_rate_is_chosen_by_all_seeds(tmp_path: Path) -> None:
    """One seed is lucky with the large one; the mean is not."""
    plan, _ = _plan(fine_tuning={"learning_rates": [1e-3, 1e-2]}, methods=["aligned"], seeds=[0, 1])
    losses = {(1e-3, 0): 0.28, (1e-2, 0): 0.25, (1e-3, 1): 0.24, (1e-2, 1): 0.36}
    folder = StudyFolder(tmp_path)
    for specs in plan.candidates().values():
        for spec in specs:
            artifact = folder.artifacts.path(spec)
            artifact.mkdir(parents=True)
            loss = losses[spec.tuning.learning_rate, spec.tuning.seed]
            (artifact / "validation.json").write_text(json.dumps({"loss": loss}))
    chosen = choose_learning_rates(plan, folder)
    assert chosen == {"aligned": 1e-3, "blind": 1e-3, "text-oracle": 1e-3}


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"tokens": {"audio": 51, "vision": 4}}, "tokens.audio 51 is beyond the encoder's 50"),
        ({"tokens": {"audio": 4, "vision": 118}}, "tokens.vision 118 is beyond the encoder's 117"),
        ({"bandwidth_hz": 400e3}, "1 resource blocks for 3 devices"),
        ({"deadline_ms": 0.01, "deadline_policy": "fit"}, "deadline_ms 0.01 is too short"),
        ({"data": {"folder": "/nowhere/at/all"}}, "no data folder /nowhere/at/all"),
    ],
)
def test_impossible_studies_are_refused_before_they_run(
    keys: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        Plan(_study(**keys))


def test_fit_takes_the_longest_tokens_that_meet_the_deadline() -> None:
    link, full = Link(bandwidth_hz=5e6), TokenBudget(audio=48, vision=48)

    def airtime(budget: TokenBudget) -> float:
        counts = {"vision": budget.vision, "audio": budget.audio, "text": 8}
        return interval_ms(link, {k: float(v) for k, v in counts.items()}, 128)

    assert fit(link, full, 8, 128, deadline_ms=1e3) == full
    deadline = airtime(TokenBudget(audio=24, vision=24))
    fitted = fit(link, full, 8, 128, deadline)
    assert fitted.audio == fitted.vision >= 24
    assert airtime(fitted) <= deadline
    assert airtime(TokenBudget(audio=fitted.audio + 1, vision=fitted.vision + 1)) > deadline


def test_power_modes() -> None:
    fixed = _study(power_mode="fixed_power", reference_bandwidth_hz=5e6)
    assert snr_at_bandwidth(fixed, 10.0, 10e6) == pytest.approx(10 - 3.0103, abs=1e-4)
    assert snr_at_bandwidth(fixed, 10.0, 5e6) == 10.0
    assert snr_at_bandwidth(_study(), 10.0, 10e6) == 10.0


def test_without_captions_there_is_no_text_oracle(minimusic: Path, tmp_path: Path) -> None:
    """As with the real MUSIC-AVQA, whose clips nobody has described."""
    shutil.copytree(
        minimusic, tmp_path / "data", ignore=shutil.ignore_patterns("video", "extraction")
    )
    study = {"data": {"folder": tmp_path / "data"}, "methods": ["aligned"]}
    assert _plan(**study)[0].methods == ("blind", "text-oracle", "aligned")
    (tmp_path / "data" / "MUSIC-AVQA" / "annotation" / "desc_test.json").unlink()
    plan, cells = _plan(**study)
    assert plan.methods == ("blind", "aligned")
    assert {c.tuning.method for c in cells} == {"blind", "aligned"}
    (tmp_path / "data" / "VALOR" / "annotation" / "desc_train.json").unlink()
    with pytest.raises(ValueError, match=r"no annotation file .*desc_train\.json"):
        _plan(**study)


def test_airs_that_cannot_be_received_are_refused_at_once() -> None:
    for keys, complaint in (
        ({"airs": ["awgn"], "link": {"access": "sdma", "antennas": 4}}, "tells users apart"),
        ({"airs": ["awgn"], "methods": ["aligned"], "link": {"antennas": 2}}, ""),
        (
            {"airs": [{"name": "rayleigh", "csi": "none"}], "methods": ["digital"]},
            "demodulates with CSI",
        ),
        ({"airs": [{"name": "awgn", "csi": "estimated"}]}, "nothing to estimate"),
    ):
        study = Study(name="s", **keys)
        if not complaint:
            Plan(study)
            continue
        with pytest.raises(ValueError, match=complaint):
            Plan(study)


def test_an_air_with_a_link_budget_has_one_cell_and_one_condition() -> None:
    study = Study(
        name="s",
        methods=["aligned", "digital"],
        airs=["umi", "tdl-a"],
        train_snr_db=[0, 10],
        eval_snr_db=[0, 5, 10],
        bandwidth_hz=[5e6, 10e6],
    )
    cells = [
        c
        for c in Plan(study).cells(
            dict.fromkeys(("blind", "text-oracle", "aligned", "digital"), 1e-3)
        )
        if not c.method.floor
    ]
    umi = [c for c in cells if c.air_label == "umi"]
    assert len(umi) == 2 * 2
    assert all(len(c.eval_snr_db) == 1 for c in umi)
    assert len(cells) - len(umi) == 2 * 2 * 2
    assert len({c.key for c in cells}) == len(cells)
    assert {c.tuning.air.digital is not None for c in cells if c.tuning.method == "digital"} == {
        True
    }


def test_flat_airs_share_stages_over_bandwidths_and_selective_ones_do_not() -> None:
    study = Study(
        name="s", methods=["aligned"], airs=["rayleigh", "tdl-a"], bandwidth_hz=[5e6, 10e6]
    )
    cells = [
        c
        for c in Plan(study).cells(dict.fromkeys(("blind", "text-oracle", "aligned"), 1e-3))
        if not c.method.floor
    ]
    tunings = {
        label: {c.tuning.key for c in cells if c.air_label == label}
        for label in ("rayleigh", "tdl-a")
    }
    assert len(tunings["rayleigh"]) == 1
    assert len(tunings["tdl-a"]) == 2
