"""Methods: short names and mappings, what they are called, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from studies import Study, load
from studies.plan.cells import Plan
from tokcom_core.systems.mlms import Mlms

from .small import mlms, write_study

BYTES = {"transport": {"question": "file"}}
METHODS = {
    "aligned": "aligned",
    "mlms": {"system": "mlms"},
    "mlms alignment=contrastive transport.question=file": {
        "system": "mlms",
        "alignment": "contrastive",
        **BYTES,
    },
    "aligned transport.question=file": {"name": "aligned", **BYTES},
    "mine": {"name": "aligned", "label": "mine", **BYTES},
    "aligned train_tokens=any": {"name": "aligned", "train_tokens": "any"},
    "unaligned fine_tuning.steps=7": {"name": "unaligned", "fine_tuning": {"steps": 7}},
}
"""By label."""


def _study(**keys: Any) -> Study:
    return Study(name="s", **keys)


def _systems(study: Study) -> dict[str, Mlms]:
    found = {method.label: study.system(method) for method in study.methods}
    assert all(isinstance(system, Mlms) for system in found.values())
    return found  # type: ignore[return-value]


def test_a_method_is_called_what_was_written() -> None:
    study = _study(methods=list(METHODS.values()))
    assert [method.label for method in study.methods] == list(METHODS)
    assert [method.transport for method in study.methods[2:5]] == [BYTES["transport"]] * 3


def test_methods_survive_a_round_trip(tmp_path: Path) -> None:
    study = load(write_study(tmp_path / "a.yaml", methods=list(METHODS.values())))
    plain = study.model_dump(mode="json")
    assert plain["methods"][0] == "aligned"  # as it was written
    (tmp_path / "b.yaml").write_text(yaml.safe_dump(plain))
    assert load(tmp_path / "b.yaml") == study


def test_a_methods_own_keys_win_over_the_studys_and_those_over_defaults() -> None:
    own = {"name": "unaligned", "label": "own", "fine_tuning": {"steps": 7}}
    reconstruction = {"system": "mlms", "label": "short", "alignment": "reconstruction"}
    keys = mlms(fine_tuning={"steps": 5, "batch_size": 3}, alignment={"steps": 9})
    systems = _systems(_study(methods=["unaligned", own, reconstruction], **keys))
    tuned = {label: system.fine_tuning for label, system in systems.items()}
    assert [(t.steps, t.batch_size) for t in tuned.values()] == [(5, 3), (7, 3), (5, 3)]
    assert systems["own"].alignment.losses == "none"
    assert systems["short"].alignment.losses == "reconstruction"
    assert systems["short"].alignment.steps == 9


def test_a_short_name_is_the_mapping_that_it_stands_for() -> None:
    """Same phases, same frozen tokens; only the label tells them apart."""
    plan = Plan(_study(methods=["text-as-bytes", METHODS["mine"], "aligned"]))
    trained = {cell.method: cell.trained for cell in plan.known_cells({})}
    assert trained["text-as-bytes"].key == trained["mine"].key != trained["aligned"].key
    crossing = trained["mine"].crossing
    assert crossing is not None
    assert crossing.transport == {"question": "file"}
    assert crossing.air.digital is not None


@pytest.mark.parametrize(
    ("method", "complaint"),
    [
        ({"name": "aligned", "transport": {"smell": "file"}}, "transport has no stream 'smell'; "
         "take some of audio, vision, caption, question"),
        ({"name": "aligned", "transport": {"question": "pigeon"}},
         "methods.0.transport.question should be 'analog', 'digital' or 'file'"),
        ({"name": "aligned", "train_tokens": "all"},
         "methods.0.train_tokens should be 'matched' or 'any'"),
        ({"system": "magic"}, "no system 'magic'; take some of mlms"),
        ({"name": "magic"}, "no method 'magic'; take some of aligned"),
        ({"alignment": "contrastive"}, "a method needs 'name', one of the short names, or"),
        ({"system": "mlms", "label": "a", "alignment": {"stepz": 3}},
         "methods: a: no key 'alignment.stepz'; did you mean 'steps'?"),
        ({"name": "aligned", "label": "a", "stepz": 3},
         "methods: a: system 'mlms' has no key 'stepz'; take some of name"),
        ({"name": "aligned", "label": "a", "alignment": {"steps": "many"}},
         "methods: a: alignment.steps should be a whole number"),
        ({"name": "aligned", "label": ""}, "methods.0.label"),
        (["aligned", {"system": "mlms", "label": "aligned"}], "labels are repeated: aligned"),
        (["aligned", {"name": "unaligned", "label": "blind"}],
         "methods: label 'blind' is that of a reference, which every study has; give the method"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(method: Any, complaint: str, tmp_path: Path) -> None:
    file = write_study(tmp_path / "a.yaml", methods=method)
    with pytest.raises(ValueError, match=r"\w") as caught:
        Plan(load(file))
    message = str(caught.value)
    assert complaint in message
    assert "\n" not in message
