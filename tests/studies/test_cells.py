"""Which cells a study has, what they share, and what a budget buys."""

from __future__ import annotations

import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors import airtime_ms
from channel_models import DigitalConfig, Link, SnrRange
from channel_models.digital.abstraction import usable_mcs
from channel_models.digital.modem import MCS_COUNT
from studies.execution.finished import choose_learning_rates
from studies.plan.budgets import Budget, fit, loss_at_bandwidth_db, served_streams
from studies.plan.cells import Plan
from studies.plan.checks import check_data
from studies.plan.contenders import Contender
from studies.plan.specs import Cell
from studies.plan.study import Study
from studies.plan.swept import mcs_choices
from studies.storage.folder import StudyFolder
from studies.tables.identity import identity
from studies.tables.layout import layout_of
from tokcom_core.features import MediaFeatures
from tokcom_core.systems import Phase
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Avqa, Task

from .small import mlms

_LONG = {"audio": 48, "vision": 48}


def _study(**keys: Any) -> Study:
    return Study(name="s", **keys)


def _plan(**keys: Any) -> tuple[Plan, list[Cell]]:
    plan = Plan(_study(**keys))
    return plan, plan.known_cells({})


def _ours(cells: list[Cell]) -> list[Cell]:
    """All but the references."""
    return [cell for cell in cells if cell.reference is None]


def _labels(plan: Plan) -> list[str]:
    return [contender.label for contender in plan.contenders]


def _alignments(cells: list[Cell]) -> set[str]:
    return {cell.trained.parent.key for cell in cells if cell.trained.parent is not None}


def test_a_grid_has_every_cell_once_and_one_reference_a_seed() -> None:
    _, cells = _plan(
        methods=["aligned", "unaligned"],
        airs=["awgn", "rayleigh"],
        seeds=[0, 1],
        tokens=[{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}],
    )
    assert len(cells) == len({c.key for c in cells}) == 2 * 2 * 2 * 2 + 2 * 2
    assert sum(c.reference is not None for c in cells) == 4


def test_budgets_of_other_methods_make_no_cells() -> None:
    """Two token lengths of the terminal are one cell of a method that has no terminal."""
    _, cells = _plan(
        data={"miniclevr": {}},
        task="clevr",
        methods=["taichi", "aligned"],
        tokens=[{"terminal": terminal, "image": 36} for terminal in (36, 9)],
    )
    tokens = [(c.method, dict(c.trained.tokens)) for c in _ours(cells)]
    assert tokens == [
        ("taichi", {"terminal": 36}),
        ("taichi", {"terminal": 9}),
        ("aligned", {"image": 36}),
    ]


def test_cells_share_their_stages() -> None:
    _, cells = _plan(methods=["aligned"], bandwidth_hz=[5e6, 10e6], eval_snr_db=[0, 10])
    assert len(_ours(cells)) == 2
    assert (
        len({c.trained.key for c in _ours(cells)}) == 1
    )  # fixed PSD: bandwidth only changes the airtime
    _, cells = _plan(methods=["aligned"], bandwidth_hz=[5e6, 10e6], power_mode="fixed_power")
    assert len({c.trained.key for c in _ours(cells)}) == 2


def test_another_budget_leaves_what_was_trained_as_it_is() -> None:
    _, few = _plan(methods=["aligned"], tokens=[{"audio": 4, "vision": 4}])
    _, more = _plan(
        methods=["aligned"], tokens=[{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}]
    )
    assert {c.key for c in few} <= {c.key for c in more}


def test_features_hold_just_the_token_lengths_of_the_cells() -> None:
    plan, _ = _plan(tokens=[{"audio": 2, "vision": 3}, {"audio": 3, "vision": 3}])
    stores = [s.features for s in plan.features() if isinstance(s.features, MediaFeatures)]
    counts = {f.medium: f.sliding.counts for f in stores}
    assert counts == {"audio": (2, 3), "vision": (3,)}
    assert [(f.dataset, f.splits) for f in stores if f.medium == "audio"] == [
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
    (plan, usual), (other_plan, other) = _plan(), _plan(**mlms(models={key: value}))
    pairs = zip(plan.features(), other_plan.features(), strict=True)
    assert {a.features.medium for a, b in pairs if a.key != b.key} == changed
    assert usual[-1].trained.key != other[-1].trained.key


def test_learning_rates_are_tried_only_where_there_is_a_choice() -> None:
    plan, _ = _plan()
    assert plan.candidates() == {}
    plan, _ = _plan(methods=["aligned"], **mlms(fine_tuning={"learning_rates": [1e-4, 1e-3]}))
    tried = plan.candidates()
    assert set(tried) == {"aligned", "blind", "text-oracle"}
    assert all(len(specs) == 2 for specs in tried.values())


@pytest.mark.parametrize(
    ("lost", "best"), [({}, 1e-3), ({(1e-3, 1): math.nan}, 1e-2), ({(1e-2, 0): math.inf}, 1e-3)]
)
def test_a_learning_rate_is_chosen_by_all_seeds(
    tmp_path: Path, lost: dict[tuple[float, int], float], best: float
) -> None:
    """One seed is lucky with the large one; the mean is not, unless the small one diverged."""
    rates = mlms(fine_tuning={"learning_rates": [1e-3, 1e-2]})
    plan, _ = _plan(methods=["aligned"], seeds=[0, 1], **rates)
    losses = {(1e-3, 0): 0.28, (1e-2, 0): 0.25, (1e-3, 1): 0.24, (1e-2, 1): 0.36, **lost}
    folder = StudyFolder(tmp_path)
    for specs in plan.candidates().values():
        for spec in specs:
            artifact = folder.artifacts.path(spec)
            artifact.mkdir(parents=True)
            rate = spec.trained.definition.training.learning_rate
            loss = {"loss": losses[rate, spec.trained.seed]}
            (artifact / "validation.json").write_text(json.dumps(loss))
    chosen = choose_learning_rates(plan, folder)
    assert chosen == {"aligned": best, "blind": best, "text-oracle": best}


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
    link, system = Link(bandwidth_hz=5e6), Mlms()
    method = Contender("aligned", system, {})

    def airtime(audio: int, vision: int) -> float:
        lengths = {"audio": audio, "vision": vision}
        return airtime_ms(link, served_streams(system, Avqa(), lengths))

    def fitted(deadline_ms: float) -> dict[str, int]:
        study = _study(deadline_policy="fit", deadline_ms=100.0)
        budget = Budget(5e6, deadline_ms, None, DigitalConfig(), _LONG)
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
        (cell,) = _ours(_plan(methods=["aligned"], **study)[1])
        return cell.trained.tokens["audio"]

    assert fitted() == 48
    slow = fitted(compute={"device_gflops": 80})
    whole, half = Link(bandwidth_hz=5e6), Link(bandwidth_hz=2.5e6)
    assert encoding(slow) + airtime(slow, whole) <= 3.3
    assert encoding(slow + 1) + airtime(slow + 1, whole) > 3.3
    shared = fitted(emulate={"users_at_once": 2}, deadline_ms=4.5)
    assert airtime(shared, half) <= 4.5 < airtime(shared + 1, half)
    assert shared < 48
    for compute in ({"device_gflops": 10}, {"device_gflops": 10, "station_gflops": 1}):
        with pytest.raises(ValueError, match=r"take 10.5 ms, 8.67 ms of them encoding, at 5e\+06"):
            fitted(compute=compute)


def test_fit_counts_packets_of_a_fixed_mcs() -> None:
    """16-QAM of rate 490/1024: (2 * 64 * 4 + 16 + 16 CRC) / (4 * 0.4785) = 285 symbols a token."""
    keys = {"methods": ["digital"], "tokens": _LONG, "bandwidth_hz": 2e7}
    keys |= {"deadline_policy": "fit", "deadline_ms": 2.2}
    (cell,) = _ours(_plan(digital={"mcs": 7, "bits": 4}, **keys)[1])
    link, count = Link(bandwidth_hz=2e7), cell.trained.tokens["vision"]
    uses = DigitalConfig(mcs=7, bits=4).token_channel_uses(64)
    assert uses == 285
    blocks = link.blocks_per_device(3)
    assert count < 48
    assert link.transmission(uses * count, blocks).airtime_ms <= 2.2
    assert link.transmission(uses * (count + 1), blocks).airtime_ms > 2.2
    with pytest.raises(ValueError, match=r"'digital': .* adaptive .* take an MCS from 2 to 27"):
        _plan(**keys)


def test_the_mcs_of_a_fidelity_are_those_that_packets_are_made_with() -> None:
    assert tuple(mcs_choices("abstract")) == usable_mcs("cpu")
    assert mcs_choices("link") == range(MCS_COUNT)


@pytest.mark.parametrize(
    ("task", "data", "remedy"),
    [
        ("avqa", {"miniclevr": {}}, "data: {minimusic: {}} or data: {folder: DIR}"),
        ("clevr", {"minimusic": {}}, "data: {miniclevr: {}} or data: {folder: DIR}"),
        ("vqav2", {"miniclevr": {}}, "data: {folder: DIR}"),
        ("sst2", {"minimusic": {}}, "data: {miniclevr: {}} or data: {folder: DIR}"),
    ],
)
def test_a_task_that_a_miniature_world_is_not_about_is_refused(
    task: str, data: dict[str, Any], remedy: str
) -> None:
    (world,) = data
    said = f"data.{world} has nothing of task '{task}'; take {remedy}"
    with pytest.raises(ValueError, match=re.escape(said)):
        _plan(task=task, data=data)


def test_every_task_of_a_mixture_has_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever lies in the current folder, which some tasks look for theirs in."""
    (tmp_path / "MME_Benchmark_release_version" / "existence").mkdir(parents=True)
    (tmp_path / "MME_Benchmark_release_version" / "existence" / "a.txt").touch()
    monkeypatch.chdir(tmp_path)
    task = {"name": "multitask", "tasks": ["clevr", "vqav2"]}
    with pytest.raises(ValueError, match=r"data\.miniclevr has nothing of task 'vqav2'"):
        _plan(task=task, data={"miniclevr": {}})
    check_data(_study(task={**task, "tasks": ["clevr", "mme"]}, data={"miniclevr": {}}))


def test_deadlines_share_what_is_trained_and_evaluated() -> None:
    """Unless "fit" gives them token lengths of their own."""
    keys = {"methods": ["aligned"], "deadline_ms": [1.9, 2.5, None], "tokens": _LONG}
    cells = _ours(_plan(**keys)[1])
    assert [cell.deadline_ms for cell in cells] == [1.9, 2.5, None]
    assert len({cell.key for cell in cells}) == 3
    assert len({cell.trained.key for cell in cells}) == 1
    assert len({cell.evaluation for cell in cells}) == 1
    fitted = _ours(_plan(deadline_policy="fit", **keys)[1])
    lengths = [cell.trained.tokens["audio"] for cell in fitted]
    assert lengths == sorted(set(lengths))
    assert len({cell.evaluation for cell in fitted}) == 3


def test_cells_without_speeds_keep_their_keys() -> None:
    usual, fast = (_ours(_plan(**keys)[1])[0] for keys in ({}, {"compute": {"device_gflops": 1}}))
    assert "compute" not in usual.model_dump()
    assert fast.key != usual.key
    assert fast.trained.key == usual.trained.key
    assert [Cell.model_validate_json(c.model_dump_json()) for c in (usual, fast)] == [usual, fast]


def test_power_modes() -> None:
    fixed = _study(power_mode="fixed_power", reference_bandwidth_hz=5e6)
    assert loss_at_bandwidth_db(fixed, 10e6) == pytest.approx(3.0103, abs=1e-4)
    assert loss_at_bandwidth_db(fixed, 5e6) == 0.0
    assert loss_at_bandwidth_db(_study(), 10e6) == 0.0
    keys = {"bandwidth_hz": [5e6, 10e6], "eval_snr_db": [0, 10], "power_mode": "fixed_power"}
    narrow, wide = _ours(_plan(methods=["aligned"], **keys)[1])
    assert narrow.eval_snr_db == wide.eval_snr_db == narrow.eval_air_snr_db == (0, 10)
    assert wide.eval_air_snr_db == pytest.approx((-3.0103, 6.9897), abs=1e-4)


def test_without_captions_there_is_no_text_oracle(minimusic: Path, tmp_path: Path) -> None:
    """As with the real MUSIC-AVQA, whose clips nobody has described."""
    shutil.copytree(
        minimusic, tmp_path / "data", ignore=shutil.ignore_patterns("video", "extraction")
    )
    study = {"data": {"folder": tmp_path / "data"}, "methods": ["aligned"]}
    assert _labels(_plan(**study)[0]) == ["blind", "text-oracle", "aligned"]
    (tmp_path / "data" / "MUSIC-AVQA" / "annotation" / "desc_test.json").unlink()
    plan, cells = _plan(**study)
    assert _labels(plan) == ["blind", "aligned"]
    assert {c.method for c in cells} == {"blind", "aligned"}
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
    _, found = _plan(
        methods=["aligned", "digital"],
        airs=["umi", "tdl-a"],
        train_snr_db=[0, 10],
        eval_snr_db=[0, 5, 10],
        bandwidth_hz=[5e6, 10e6],
    )
    cells = _ours(found)
    umi = [c for c in cells if c.air_label == "umi"]
    assert len(umi) == 2 * 2
    assert all(len(c.eval_snr_db) == 1 for c in umi)
    assert len(cells) - len(umi) == 2 * 2 * 2
    assert len({c.key for c in cells}) == len(cells)
    assert all(c.crossing.air.digital is not None for c in cells if c.method == "digital")


def test_flat_airs_share_phases_over_bandwidths_and_selective_ones_do_not() -> None:
    _, cells = _plan(methods=["aligned"], airs=["rayleigh", "tdl-a"], bandwidth_hz=[5e6, 10e6])
    trained = {
        label: {c.trained.key for c in _ours(cells) if c.air_label == label}
        for label in ("rayleigh", "tdl-a")
    }
    assert len(trained["rayleigh"]) == 1
    assert len(trained["tdl-a"]) == 2


def test_an_alignment_without_media_is_shared_by_token_budgets() -> None:
    """Eq. (9) alone sends texts; the contrastive loss sends media as well."""
    budgets = [{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}]
    _, cells = _plan(methods=["reconstruction", "aligned"], tokens=budgets)
    by_method = {m: [c for c in cells if c.method == m] for m in ("reconstruction", "aligned")}
    assert len(_alignments(by_method["reconstruction"])) == 1
    assert len(_alignments(by_method["aligned"])) == 2
    parents = [c.trained.parent for c in by_method["reconstruction"]]
    assert all(parent is not None and parent.tokens == {} for parent in parents)


def test_methods_that_train_alike_share_their_phases() -> None:
    """How a question travels is part of its phases; a label is not."""
    other = {"name": "aligned", "label": "the same again"}
    _, cells = _plan(methods=["aligned", other, "text-as-bytes"])
    keys = {c.method: c.trained.key for c in _ours(cells)}
    assert keys["aligned"] == keys["the same again"] != keys["text-as-bytes"]
    assert len({c.key for c in cells}) == len(cells)


def test_a_phase_that_does_not_cross_the_air_is_shared_by_all_airs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    phases = Mlms.phases

    def unsent(system: Mlms, task: Task) -> tuple[Phase, ...]:
        first, *others = phases(system, task)
        return (replace(first, over_air=False), *others)

    keys = {"methods": ["aligned"], "airs": ["awgn", "rayleigh"], "train_snr_db": [0, 10]}
    assert len(_alignments(_ours(_plan(**keys)[1]))) == 4
    monkeypatch.setattr(Mlms, "phases", unsent)
    cells = _ours(_plan(**keys)[1])
    assert len(_alignments(cells)) == 1
    assert len({c.trained.key for c in cells}) == 4
    assert all(c.trained.lineage[0].crossing is None for c in cells)


def test_a_range_of_training_snrs_is_one_training_and_shifts_with_the_bandwidth() -> None:
    ranged = {"low": -6, "high": 18}
    keys = {"methods": ["aligned"], "bandwidth_hz": [5e6, 1e7], "power_mode": "fixed_power"}
    plan, found = _plan(train_snr_db=[6, ranged], **keys)
    cells = {(c.bandwidth_hz, isinstance(c.nominal_snr_db, SnrRange)): c for c in _ours(found)}
    assert len(cells) == len({c.trained.key for c in cells.values()}) == 4
    assert cells[5e6, True].crossing.snr_db == SnrRange(low=-6, high=18)
    doubled = cells[1e7, True].crossing.snr_db
    assert isinstance(doubled, SnrRange)
    assert (doubled.low, doubled.high) == pytest.approx((-9.0103, 14.9897))
    row = identity(cells[1e7, True], layout_of(plan.study))
    assert (row["train_snr_db"], row["train_snr_span_db"]) == (6, 24)
    assert identity(cells[1e7, False], layout_of(plan.study))["train_snr_span_db"] == 0
