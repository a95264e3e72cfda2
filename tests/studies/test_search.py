"""What may be searched, and what a trial trains."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from actors import Faults
from studies import load
from studies.plan.cells import Plan
from studies.plan.search import study_with, variant_of
from studies.plan.specs import FeaturesSpec
from studies.plan.study import Study
from tokcom_core.features import MediaFeatures

from .small import RATES, small_search, small_study


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"over": {}}, "over should have 1 or more values"),
        ({"over": {"tokens.audio": 4}}, "4 should be a list of values or a range"),
        ({"over": {"tokens.audio": [4]}}, "[4] leaves no choice"),
        ({"over": {"tokens.audio": {"low": 4, "high": 2}}}, "low 4 should be below high 2"),
        ({"over": {"tokens.audio": {"lo": 4, "high": 2}}}, "no key 'lo'; did you mean 'low'?"),
        ({"over": {RATES: {"low": 0, "high": 1, "log": True}}}, "low 0 of a logarithmic range"),
        (
            {"over": {RATES: {"low": 0.1, "high": math.inf}}},
            "a range from 0.1 to inf has no end to draw from",
        ),
        ({"over": {"tokens.audio": {"low": True, "high": 3}}}, "low should be a number (got True)"),
        ({"trials": 0}, "trials should be at least 1 (got 0)"),
        ({"by": "hand"}, "by should be 'random' or 'optuna'"),
    ],
)
def test_bad_searches_are_refused(keys: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        small_search(**keys)


@pytest.mark.parametrize(
    ("study", "search", "complaint"),
    [
        ({}, {"method": "digital"}, "no method 'digital' in the study; there are: aligned"),
        ({"airs": ["awgn", "rayleigh"]}, {}, "2 airs; choose one by --set airs=[...]"),
        ({"digital": {"bits": [4, 8]}}, {}, "2 digital.bits; choose one by --set digital.bits"),
        (
            {"engine": "inline", "emulate": {"users": [10, 20], "trains": True}},
            {},
            "2 emulate.users; choose one by --set emulate.users=[...]",
        ),
        ({"deadline_ms": 1}, {}, "take --set deadline_policy=fit"),
        ({"loggers": "tensorboard"}, {}, "loggers tensorboard: a search has none, its trials are"),
        ({}, {"over": {"tokens.touch": [1, 2]}}, "should have a length for audio and vision, and"),
        ({}, {"over": {"seed": [1, 2]}}, "--over seed: no key 'seed'; did you mean 'seeds'?"),
        ({}, {"over": {"data.minimusic.seed": [1, 2]}}, "take --set data.minimusic.seed=..."),
        ({}, {"over": {"task.name": ["avqa", "clevr"]}}, "trials of a search share their samples"),
        ({}, {"over": {"seeds": [[0], [1]]}}, "all trials of a search share their seeds, or"),
        ({}, {"over": {"airs": ["awgn", "rayleigh"]}}, "share their airs, or the best would be"),
        ({}, {"over": {"airs.csi": ["perfect", "none"]}}, "easiest air; take --set airs.csi="),
        ({}, {"over": {"train_snr_db": [0, 10]}}, "share their train_snr_db, or"),
        (
            {"train_snr_db": "matched"},
            {"over": {"eval_snr_db": [0, 10]}},
            "share their eval_snr_db, or",
        ),
        (
            {"train_snr_db": "matched", "eval_snr_db": [0, 10]},
            {},
            "has 2 eval_snr_db; choose one by --set eval_snr_db=[...]",
        ),
        ({}, {"over": {"methods": ["aligned", "unaligned"]}}, "a search have its --method; search"),
    ],
)
def test_studies_that_cannot_be_searched_are_refused(
    study: dict[str, Any], search: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        small_search(**search).base(small_study(**study))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("evaluation.questions", [8, 16]),
        ("evaluation.max_answer_tokens", {"low": 2, "high": 8}),
        ("eval_snr_db", [0, 10]),
        ("engine", ["inline", "ray"]),
        ("resources.cpu", [1, 2]),
        ("digital.bits", [4, 8]),  # nothing travels in packets
    ],
)
@pytest.mark.parametrize("beside", [{}, {RATES: [0.001, 0.01], "tokens.audio": [2, 1_000_000]}])
def test_keys_that_change_no_network_are_refused(
    key: str, values: Any, beside: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"{key} changes nothing that a search trains"):
        small_search(over={**beside, key: values}).base(small_study())


def test_a_key_may_count_at_some_values_of_another_alone() -> None:
    """Bits of the values of packets, which only one choice of the other key sends."""
    aligned = {"name": "aligned", "label": "aligned", "transport": {"audio": "analog"}}
    over = {"digital.bits": [4, 8], "methods.transport.audio": ["analog", "digital"]}
    assert small_search(over=over).base(small_study(methods=[aligned]))


@pytest.mark.parametrize(
    ("key", "values"), [("airs.digital", [{"bits": 4}, {"bits": 8}]), ("airs.digital.bits", [4, 8])]
)
def test_the_link_of_packets_can_be_searched(key: str, values: Any) -> None:
    air = {"name": "awgn", "digital": {"bits": 16}}
    base = small_search(over={key: values}).base(small_study(airs=[air]))
    found = [study_with(base, {key: value}).airs[0].digital for value in values]
    assert [digital.bits for digital in found if digital is not None] == [4, 8]


def test_a_key_of_the_only_value_of_a_list_can_be_set() -> None:
    study = small_study()
    assert study_with(study, {"tokens.audio": 2}).tokens == ({"audio": 2, "vision": 4},)
    several = small_study(tokens=[{"audio": 2, "vision": 4}, {"audio": 4, "vision": 4}])
    with pytest.raises(ValueError, match="'tokens' has 2 values; set all"):
        study_with(several, {"tokens.audio": 2})


def test_a_trial_trains_what_a_study_with_the_same_keys_trains() -> None:
    study = small_study(methods=["aligned", "unaligned"], seeds=[3, 4])
    base = small_search().base(study)
    variant = variant_of(base, {"tokens.audio": 2, RATES: 0.01})
    same = study_with(study, {"tokens.audio": 2, RATES: [0.01]})
    keys = [cell.trained.key for cell in Plan(same).known_cells({}) if cell.method == "aligned"]
    assert variant.validation.trained.key == keys[0]
    assert variant.tokens == {"audio": 2, "vision": 4}


def test_a_method_without_learning_rates_to_choose_from_can_be_searched() -> None:
    over = {"systems.taichi.coding_training.learning_rate": [0.001, 0.002]}
    study = load("taichi-fig12", {"methods": ["taichi"], "airs": ["awgn"], "claims": []})
    base = small_search(method="taichi", over=over).base(study)
    found = {variant_of(base, {next(iter(over)): rate}).validation.key for rate in (0.001, 0.002)}
    assert len(found) == 2


def test_under_a_deadline_token_lengths_are_those_that_meet_it() -> None:
    study = small_study(deadline_ms=1.9, deadline_policy="fit", airs=["awgn"])
    base = small_search().base(study)
    assert variant_of(base, {"tokens.audio": 20}).tokens == {"audio": 20, "vision": 4}
    shorter = variant_of(base, {"tokens.audio": 48}).tokens
    assert 20 < shorter["audio"] < 48
    assert shorter["vision"] < 4


def test_a_key_may_count_in_the_middle_of_its_list_alone() -> None:
    aligned = {"name": "aligned", "label": "aligned", "transport": {"audio": "analog"}}
    over = {"methods.transport.audio": ["analog", "digital", "analog"]}
    assert small_search(over=over).base(small_study(methods=[aligned]))


def test_a_method_is_searched_without_the_budgets_of_others() -> None:
    keys: dict[str, Any] = {
        "task": "clevr",
        "models": "pocket",
        "data": {"miniclevr": {"images": 100}},
        "methods": ["aligned", "taichi"],
        "tokens": {"image": 16, "terminal": 36},
    }
    base = small_search(over={"tokens.image": [4, 8]}).base(Study(name="s", **keys))
    assert variant_of(base, {"tokens.image": 4}).study.tokens == ({"image": 4},)


def test_a_study_whose_processes_are_killed_can_be_searched() -> None:
    """A search trains in one process, which nothing kills; users may be offline still."""
    faults = {"pool_crash_prob": 0.1, "station_crash_prob": 0.1, "offline_prob": 0.5}
    study = small_study(engine="ray", emulate={"users": 8, "faults": faults})
    emulate = variant_of(small_search().base(study), {"tokens.audio": 2}).study.emulate
    assert emulate is not None
    assert emulate.faults == Faults(offline_prob=0.5)


def test_several_learning_rates_are_refused_unless_they_are_searched() -> None:
    study = small_study(systems={"mlms": {"fine_tuning": {"learning_rates": [0.001, 0.01]}}})
    several = "has 2 learning rates; choose one, or search over them"
    with pytest.raises(ValueError, match=several):
        small_search().base(study)
    over = {RATES: {"low": 0.001, "high": 0.01}, "tokens.audio": [2, 4]}
    base = small_search(over=over).base(study)
    with pytest.raises(ValueError, match=several):
        variant_of(base, {})
    assert variant_of(base, {RATES: 0.01}).validation.trained.system.learning_rates == (0.01,)


@pytest.mark.parametrize(
    ("space", "lengths"),
    [
        ([2, 6], [2, 4, 6]),
        ([2, 1_000_000], [2, 4]),
        (np.array([2, 6]), [2, 4, 6]),
        ({"low": np.int64(2), "high": 7}, [2, 3, 4, 5, 6, 7]),
        ({"low": 2, "high": 8}, [4]),
    ],
)
def test_data_are_encoded_once_for_all_token_lengths(space: Any, lengths: list[int]) -> None:
    """Not for one that the encoder does not have, nor for more than there are trials."""
    search = small_search(over={RATES: [0.001, 0.01], "tokens.audio": space}, trials=6)
    base = search.base(small_study())
    shared = search.features(base)
    assert _lengths(shared) == {"audio": lengths, "vision": [4]}
    own = variant_of(base, {RATES: 0.001, "tokens.audio": lengths[0]})
    assert {spec.key for spec in own.features_from(shared)} == {spec.key for spec in shared}


def test_lengths_that_a_deadline_shortens_beside_others_are_encoded_for_all() -> None:
    """A length that is too long beside the study's others may be in time beside shorter ones."""
    keys = {"link": {"access": "tdma"}, "deadline_ms": 1.2, "deadline_policy": "fit"}
    search = small_search(over={"tokens.audio": [2, 22], "tokens.vision": [2, 22]})
    base = search.base(small_study(tokens={"audio": 8, "vision": 8}, **keys))
    found = _lengths(search.features(base))
    assert all({2, 22} <= set(lengths) for lengths in found.values())


def test_every_encoder_of_a_search_encodes_all_lengths() -> None:
    key = "systems.mlms.models.selection"
    search = small_search(over={key: ["norm", "slide"], "tokens.audio": [2, 6]})
    base = search.base(small_study())
    shared = search.features(base)
    for selection in ("norm", "slide"):
        for count in (2, 6):
            variant = variant_of(base, {key: selection, "tokens.audio": count})
            assert all(spec in shared for spec in variant.features_from(shared))


def _lengths(features: list[FeaturesSpec]) -> dict[str, list[int]]:
    """Token lengths of frozen tokens by medium."""
    every = [spec.features for spec in features]
    return {f.medium: list(f.sliding.counts) for f in every if isinstance(f, MediaFeatures)}
