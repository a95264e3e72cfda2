"""Which cells a study has, and what they share."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from channel_models import SnrRange
from studies.execution.finished import choose_learning_rates
from studies.plan.cells import Plan
from studies.plan.specs import Cell
from studies.storage.folder import StudyFolder
from studies.tables.identity import identity
from studies.tables.layout import layout_of
from tokcom_core.features import MediaFeatures
from tokcom_core.systems import Phase
from tokcom_core.systems.mlms import Mlms
from tokcom_core.tasks import Task

from .small import mlms, ours, planned


def _labels(plan: Plan) -> list[str]:
    return [contender.label for contender in plan.contenders]


def _alignments(cells: list[Cell]) -> set[str]:
    return {cell.trained.parent.key for cell in cells if cell.trained.parent is not None}


def test_a_grid_has_every_cell_once_and_one_reference_a_seed() -> None:
    _, cells = planned(
        methods=["aligned", "unaligned"],
        airs=["awgn", "rayleigh"],
        seeds=[0, 1],
        tokens=[{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}],
    )
    assert len(cells) == len({c.key for c in cells}) == 2 * 2 * 2 * 2 + 2 * 2
    assert sum(c.reference is not None for c in cells) == 4


def test_budgets_of_other_methods_make_no_cells() -> None:
    """Two token lengths of the terminal are one cell of a method that has no terminal."""
    _, cells = planned(
        data={"miniclevr": {}},
        task="clevr",
        methods=["taichi", "aligned"],
        tokens=[{"terminal": terminal, "image": 36} for terminal in (36, 9)],
    )
    tokens = [(c.method, dict(c.trained.tokens)) for c in ours(cells)]
    assert tokens == [
        ("taichi", {"terminal": 36}),
        ("taichi", {"terminal": 9}),
        ("aligned", {"image": 36}),
    ]


def test_cells_of_several_seeds_are_those_of_each() -> None:
    both = {cell.key for cell in planned(seeds=[3, 5])[1]}
    each = [{cell.key for cell in planned(seeds=[seed])[1]} for seed in (3, 5)]
    assert both == each[0] | each[1]
    assert not each[0] & each[1]


def test_cells_share_their_stages() -> None:
    _, cells = planned(methods=["aligned"], bandwidth_hz=[5e6, 10e6], eval_snr_db=[0, 10])
    assert len(ours(cells)) == 2
    assert (
        len({c.trained.key for c in ours(cells)}) == 1
    )  # fixed PSD: bandwidth only changes the airtime
    _, cells = planned(methods=["aligned"], bandwidth_hz=[5e6, 10e6], power_mode="fixed_power")
    assert len({c.trained.key for c in ours(cells)}) == 2


def test_another_budget_leaves_what_was_trained_as_it_is() -> None:
    _, few = planned(methods=["aligned"], tokens=[{"audio": 4, "vision": 4}])
    _, more = planned(
        methods=["aligned"], tokens=[{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}]
    )
    assert {c.key for c in few} <= {c.key for c in more}


def test_features_hold_just_the_token_lengths_of_the_cells() -> None:
    plan, _ = planned(tokens=[{"audio": 2, "vision": 3}, {"audio": 3, "vision": 3}])
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
    (plan, usual), (other_plan, other) = planned(), planned(**mlms(models={key: value}))
    pairs = zip(plan.features(), other_plan.features(), strict=True)
    assert {a.features.medium for a, b in pairs if a.key != b.key} == changed
    assert usual[-1].trained.key != other[-1].trained.key


def test_references_may_have_learning_rates_of_their_own() -> None:
    rates = {"learning_rates": [1e-3], "reference_learning_rates": [1e-4]}
    _, cells = planned(methods=["aligned"], **mlms(fine_tuning=rates))
    found = {(c.reference is not None, c.trained.definition.training.learning_rate) for c in cells}
    assert found == {(True, 1e-4), (False, 1e-3)}


def test_learning_rates_are_tried_only_where_there_is_a_choice() -> None:
    plan, _ = planned()
    assert plan.candidates() == {}
    plan, _ = planned(methods=["aligned"], **mlms(fine_tuning={"learning_rates": [1e-4, 1e-3]}))
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
    plan, _ = planned(methods=["aligned"], seeds=[0, 1], **rates)
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


def test_cells_without_speeds_keep_their_keys() -> None:
    usual, fast = (ours(planned(**keys)[1])[0] for keys in ({}, {"compute": {"device_gflops": 1}}))
    assert "compute" not in usual.model_dump()
    assert fast.key != usual.key
    assert fast.trained.key == usual.trained.key
    assert [Cell.model_validate_json(c.model_dump_json()) for c in (usual, fast)] == [usual, fast]


def test_without_captions_there_is_no_text_oracle(minimusic: Path, tmp_path: Path) -> None:
    """As with the real MUSIC-AVQA, whose clips nobody has described."""
    shutil.copytree(
        minimusic, tmp_path / "data", ignore=shutil.ignore_patterns("video", "extraction")
    )
    study = {"data": {"folder": tmp_path / "data"}, "methods": ["aligned"]}
    assert _labels(planned(**study)[0]) == ["blind", "text-oracle", "aligned"]
    (tmp_path / "data" / "MUSIC-AVQA" / "annotation" / "desc_test.json").unlink()
    plan, cells = planned(**study)
    assert _labels(plan) == ["blind", "aligned"]
    assert {c.method for c in cells} == {"blind", "aligned"}
    (tmp_path / "data" / "VALOR" / "annotation" / "desc_train.json").unlink()
    with pytest.raises(ValueError, match=r"no annotation file .*desc_train\.json"):
        planned(**study)


def test_an_air_with_a_link_budget_has_one_cell_and_one_condition() -> None:
    _, found = planned(
        methods=["aligned", "digital"],
        airs=["umi", "tdl-a"],
        train_snr_db=[0, 10],
        eval_snr_db=[0, 5, 10],
        bandwidth_hz=[5e6, 10e6],
    )
    cells = ours(found)
    umi = [c for c in cells if c.air_label == "umi"]
    assert len(umi) == 2 * 2
    assert all(len(c.eval_snr_db) == 1 for c in umi)
    assert len(cells) - len(umi) == 2 * 2 * 2
    assert len({c.key for c in cells}) == len(cells)
    assert all(c.crossing.air.digital is not None for c in cells if c.method == "digital")


def test_flat_airs_share_phases_over_bandwidths_and_selective_ones_do_not() -> None:
    _, cells = planned(methods=["aligned"], airs=["rayleigh", "tdl-a"], bandwidth_hz=[5e6, 10e6])
    trained = {
        label: {c.trained.key for c in ours(cells) if c.air_label == label}
        for label in ("rayleigh", "tdl-a")
    }
    assert len(trained["rayleigh"]) == 1
    assert len(trained["tdl-a"]) == 2


def test_an_alignment_without_media_is_shared_by_token_budgets() -> None:
    """Eq. (9) alone sends texts; the contrastive loss sends media as well."""
    budgets = [{"audio": 4, "vision": 4}, {"audio": 8, "vision": 8}]
    _, cells = planned(methods=["reconstruction", "aligned"], tokens=budgets)
    by_method = {m: [c for c in cells if c.method == m] for m in ("reconstruction", "aligned")}
    assert len(_alignments(by_method["reconstruction"])) == 1
    assert len(_alignments(by_method["aligned"])) == 2
    parents = [c.trained.parent for c in by_method["reconstruction"]]
    assert all(parent is not None and parent.tokens == {} for parent in parents)


def test_methods_that_train_alike_share_their_phases() -> None:
    """How a question travels is part of its phases; a label is not."""
    other = {"name": "aligned", "label": "the same again"}
    _, cells = planned(methods=["aligned", other, "text-as-bytes"])
    keys = {c.method: c.trained.key for c in ours(cells)}
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
    assert len(_alignments(ours(planned(**keys)[1]))) == 4
    monkeypatch.setattr(Mlms, "phases", unsent)
    cells = ours(planned(**keys)[1])
    assert len(_alignments(cells)) == 1
    assert len({c.trained.key for c in cells}) == 4
    assert all(c.trained.lineage[0].crossing is None for c in cells)


def test_a_range_of_training_snrs_is_one_training_and_shifts_with_the_bandwidth() -> None:
    ranged = {"low": -6, "high": 18}
    keys = {"methods": ["aligned"], "bandwidth_hz": [5e6, 1e7], "power_mode": "fixed_power"}
    plan, found = planned(train_snr_db=[6, ranged], **keys)
    cells = {(c.bandwidth_hz, isinstance(c.nominal_snr_db, SnrRange)): c for c in ours(found)}
    assert len(cells) == len({c.trained.key for c in cells.values()}) == 4
    assert cells[5e6, True].crossing.snr_db == SnrRange(low=-6, high=18)
    doubled = cells[1e7, True].crossing.snr_db
    assert isinstance(doubled, SnrRange)
    assert (doubled.low, doubled.high) == pytest.approx((-9.0103, 14.9897))
    row = identity(cells[1e7, True], layout_of(plan.study))
    assert (row["train_snr_db"], row["train_snr_span_db"]) == (6, 24)
    assert identity(cells[1e7, False], layout_of(plan.study))["train_snr_span_db"] == 0


def test_matched_training_is_at_each_evaluated_snr() -> None:
    """The networks are those of fixed SNRs, each evaluated at its own alone."""
    keys = {"methods": ["aligned"], "airs": ["awgn", "umi"], "eval_snr_db": [0, 10]}
    plan, found = planned(train_snr_db=["matched"], **keys)
    cells = [cell for cell in ours(found) if cell.air_label == "awgn"]
    assert [(c.crossing.snr_db, c.eval_snr_db) for c in cells] == [(0, (0,)), (10, (10,))]
    fixed = ours(planned(train_snr_db=[0, 10], **keys)[1])
    assert {c.trained.key for c in cells} == {c.trained.key for c in fixed if c.air_label == "awgn"}
    row = identity(cells[0], layout_of(plan.study))
    assert row["train_snr_db"] is None and row["train_snr_span_db"] is None
    (cell,) = [c for c in ours(found) if c.air_label == "umi"]  # a link budget has its own SNR
    assert math.isnan(cell.eval_snr_db[0])
    assert identity(cell, layout_of(plan.study))["train_snr_span_db"] == 0
