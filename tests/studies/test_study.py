"""Files of studies: what is refused, in one line, and what survives a round trip."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from channel_models.sources.trace import Trace
from studies import Study, load, presets
from studies.plan.differences import differences
from studies.plan.loggers import MlflowConfig
from tokcom_core.systems.mlms import Mlms

from .small import mlms


def _labels(study: Study) -> list[str]:
    return [method.label for method in study.methods]


def _load(tmp_path: Path, **keys: object) -> Study:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", **keys}))
    return load(file)


@pytest.mark.parametrize("name", presets())
def test_presets_are_valid_and_survive_a_round_trip(name: str, tmp_path: Path) -> None:
    study = load(name)
    assert study.name == name
    file = tmp_path / "copy.yaml"
    file.write_text(yaml.safe_dump(study.model_dump(mode="json")))
    assert load(file) == study


def test_token_lengths_are_pairs_or_a_grid(tmp_path: Path) -> None:
    pairs = [{"audio": 4, "vision": 4}, {"audio": 16, "vision": 16}]
    assert list(_load(tmp_path, tokens=pairs).tokens) == pairs
    crossed = [pairs[0], {"audio": 4, "vision": 16}, {"audio": 16, "vision": 4}, pairs[1]]
    assert list(_load(tmp_path, tokens={"audio": [4, 16], "vision": [4, 16]}).tokens) == crossed
    both = [{"audio": [4, 16], "vision": 8}, pairs[0]]
    beside = [{"audio": 4, "vision": 8}, {"audio": 16, "vision": 8}, pairs[0]]
    assert list(_load(tmp_path, tokens=both).tokens) == beside
    grid = {"audio": [4, 16], "vision": [4, 16]}
    assert list(_load(tmp_path, tokens=grid, scale="smoke").tokens) == pairs[:1]
    with pytest.raises(ValueError, match="repeated"):
        _load(tmp_path, tokens=[{"audio": [4, 16], "vision": 4}, pairs[0]])
    with pytest.raises(ValueError, match="tokens should have 1 or more values"):
        _load(tmp_path, tokens={"audio": [], "vision": 4})


def test_quickstart_is_what_it_promises() -> None:
    study = load("quickstart")
    assert _labels(study) == ["aligned", "unaligned"]
    assert {air.label for air in study.airs} == {"awgn", "rayleigh"}
    assert len(study.eval_snr_db) == len(study.tokens) == 2
    assert len(study.seeds) >= 2
    assert all(len(study.system(method).learning_rates) == 1 for method in study.methods)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"bandwidth_hz": -5e6}, "yaml: bandwidth_hz.0 should be above 0 (got -5000000.0)"),
        ({"bandwidth_hz": float("inf")}, "bandwidth_hz.0 should be finite"),
        ({"methods": ["aligned", "magic"]}, "no method 'magic'; take some of aligned"),
        ({"metods": ["aligned"]}, "no key 'metods'; did you mean 'methods'?"),
        (
            mlms(alignment={"steps": "many"}),
            "systems.mlms.alignment.steps should be a whole number (got 'many')",
        ),
        ({"compute": 50}, "compute should be a mapping of keys to values (got 50); its keys are"),
        ({"train_snr_db": {"low": 5}}, "yaml: train_snr_db.0.high is missing"),
        (
            {"train_snr_db": [[-6, 18]]},
            "train_snr_db.0 should be 'matched' or a number or a mapping of keys to values (got a",
        ),
        (
            {"train_snr_db": {"low": 18, "high": -6}},
            "yaml: train_snr_db.0: a range of SNRs from 18",
        ),
        (
            mlms(alignment={"stepz": 3}),
            "no key 'systems.mlms.alignment.stepz'; did you mean 'steps'?",
        ),
        ({"alignment": {"steps": 3}}, "no key 'alignment'; did you mean 'systems.mlms.alignment'?"),
        ({"recipe": "mine"}, "no recipe 'mine'; take one of paper1, taichi, deepsc-papers"),
        ({"models": {"audio": "pocket"}}, "did you mean 'systems.mlms.models'?"),
        ({"question_tokens": 3}, "did you mean 'systems.mlms.question_tokens'?"),
        ({"typo": 1}, "no key 'typo'; take some of name, description, claims"),
        ({"airs": ["vacuum"]}, "no air 'vacuum'"),
        (
            {"airs": [{"name": "rician", "k_factor": 3}]},
            "airs.0.rician.k_factor'; did you mean 'k_factor_db'?",
        ),
        ({"airs": {"name": "umi", "digital": {"bitz": 3}}}, "bitz'; did you mean 'bits'?"),
        ({"link": {"acess": "tdma"}}, "no key 'link.acess'; did you mean 'access'?"),
        ({"seeds": [1, 1]}, "values are repeated: 1, 1; take each once"),
        ({"methods": ["aligned"] * 2}, "methods: values are repeated: aligned, aligned; take"),
        ({"airs": ["awgn", "awgn"]}, "airs: values are repeated: awgn, awgn; take each once"),
        ({"seeds": [-1]}, "seeds.0 should be at least 0 (got -1)"),
        ({"seeds": [2**63]}, "seeds.0 should be below 9.22337e+18 (got 9223372036854775808)"),
        ({"seeds": []}, "seeds should have 1 or more values"),
        ({"eval_snr_db": [math.nan]}, "eval_snr_db.0: an SNR in dB is from -100 to 100, or"),
        ({"eval_snr_db": 1000}, "or .inf for no noise (got 1000)"),
        ({"link": {"tx_power_dbm": 200}}, "link.tx_power_dbm.0 should be at most 60 (got 200)"),
        ({"methods": ["blind"]}, "blind: references, which every study has anyway; take a method"),
        ({"methods": None}, "methods.0 should be a mapping of keys to values (it is empty)"),
        (
            {"methods": {"name": "aligned", "system": "taichi"}},
            "'aligned' is a method of system 'mlms', not 'taichi'; leave one of",
        ),
        (
            {"methods": {"name": "aligned", "alignmnt": "none"}},
            "methods: aligned alignmnt=none: system 'mlms' has no key 'alignmnt'; did you mean",
        ),
        ({"task": {"name": "avqa", "subset": 3}}, "task: task 'avqa' has no key 'subset'; take"),
        (
            {"systems": {"mlms": {"models": {"audio": {"name": "ast", "chekpoint": "a"}}}}},
            "systems.mlms.models.audio: encoder 'ast' has no key 'chekpoint'; did you mean",
        ),
        ({"airs": {"csi": "perfect"}}, "air {'csi': 'perfect'} has no name; take some of awgn"),
        ({"power_mode": ["fixed_psd"]}, "'fixed_power' (got a list; take one value)"),
        ({"tokens": {"audio": 0, "vision": 4}}, "tokens.0.audio should be at least 1 (got 0)"),
        (
            {"tokens": {"audio": 4}},
            "{'audio': 4} should have a length for audio and vision, and no",
        ),
        ({"task": "clevr", "tokens": {"audio": 4}}, "should have a length for image, and no other"),
        ({"methods": ["deepsc"], "tokens": {"terminal": 4}}, "no method has; take tokens: [{}]"),
        ({"link": {"bandwidth_hz": 1e6}}, "key of the study itself"),
        ({"link": {"access": "csma"}}, "link.access should be 'ofdma', 'tdma' or 'sdma' (got"),
        ({"data": {}}, "give one of 'minimusic', 'miniclevr', 'folder'"),
        (
            {"data": {"minimusic": {}, "folder": "/x"}},
            'not 2 of them: --set "data={folder: /x}"',
        ),
        (
            {"digital": {"mcs": 40}},
            "digital: mcs 40 has no table at fidelity abstract; take 2 to 27",
        ),
        ({"digital": {"mcs": 1}}, "take 2 to 27 or adaptive"),
        ({"digital": {"mcs": 28, "fidelity": "link"}}, "fidelity link; take 0 to 27 or adaptive"),
        ({"airs": {"name": "umi", "digital": {"mcs": 40}}}, "airs: mcs 40 has no table"),
        ({"device": "gpu7"}, "no device 'gpu7'; take auto, cpu or cuda"),
        ({"engine": "spark"}, "engine should be 'inline' or 'ray' (got 'spark')"),
        ({"loggers": "tensorbord"}, "no logger 'tensorbord'; take some of tensorboard, mlflow"),
        ({"loggers": {"name": "wandb", "projekt": "p"}}, "did you mean 'project'?"),
        ({"loggers": ["wandb", {"name": "wandb", "project": "p"}]}, "names are repeated: wandb"),
        (
            {"name": "../up"},
            "name should be letters, digits, '.', '_' or '-', no sign at",
        ),
    ],
)
def test_mistakes_get_one_line(tmp_path: Path, keys: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as caught:
        _load(tmp_path, **keys)
    message = str(caught.value)
    assert complaint in message
    assert "\n" not in message
    assert "default factory" not in message


def test_airs_that_tables_could_not_tell_apart_are_refused(my_airs: Path, tmp_path: Path) -> None:
    (my_airs / "their_airs.py").write_text((my_airs / "my_airs.py").read_text())
    airs = [{"name": "custom", "class": f"{own}_airs:Nakagami", "m": 3} for own in ("my", "their")]
    with pytest.raises(ValueError, match=r"airs: labels are repeated: nakagami m=3.0, nakagami"):
        _load(tmp_path, airs=airs)


def test_a_file_that_is_no_study(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("a: [1\nb: }")
    with pytest.raises(ValueError, match="is not proper YAML"):
        load(file)
    file.write_text("name: a\nmethods: [aligned]\nmethods: [unaligned]")
    with pytest.raises(ValueError, match=r"key 'methods' is there twice .*line 3"):
        load(file)
    for key, kind in (("true", "bool"), ("1", "int")):
        file.write_text(f"name: a\n{key}: 3")
        with pytest.raises(ValueError, match=rf"key '{key}' is a YAML {kind}; .* quotes .*line 2"):
            load(file)
        with pytest.raises(ValueError, match=rf"airs=.*: the value is not YAML: key '{key}' is a"):
            load("quickstart", [f"airs={{{key}: 3}}"])
    merging = "airs:\n- &t\n  <<: {name: tdl-a, speed_mps: 1}\n  speed_mps: 3\nlink:\n  <<: *t"
    file.write_text(f"name: a\n{merging}")
    with pytest.raises(ValueError, match=r"no key 'link\.name'; take some of sub"):  # not one twice
        load(file)
    file.write_text("- just\n- a list")
    with pytest.raises(ValueError, match="keys and values"):
        load(file)
    with pytest.raises(ValueError, match="YAML file or a preset: airs, any-budget, emulate"):
        load("nowhere")


def test_paths_are_taken_from_the_file_and_those_of_overrides_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    (there / "bert").mkdir(parents=True)
    (here / "Qwen" / "Qwen2.5-1.5B").mkdir(parents=True)
    (there / "pocket").mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(tmp_path))
    trace = Trace(
        np.ones((1, 1, 1, 1), np.complex64),
        np.zeros((1, 1), np.float32),
        ("",),
        0.0,
        3.5e9,
        False,
        np.zeros((1, 3), np.float32),
    )
    trace.write(str(there / "t.parquet"))
    site = {"name": "site", "scene": "~/a.xml", "station_m": [0, 0, 10]}
    study = _load(
        there,
        data={"folder": "../mydata"},
        airs=[{"name": "recorded", "file": "t.parquet"}, site],
        **mlms(
            models={"language": "Qwen/Qwen2.5-1.5B", "audio": "bert", "vision": "./away"},
        ),
        methods=[
            "aligned",
            {"system": "mlms", "label": "other", "models": {"audio": "bert"}},
        ],
    )
    assert study.data.folder == tmp_path / "mydata"
    recorded, traced = study.model_dump()["airs"]
    assert recorded["file"] == there / "t.parquet"
    assert traced["scene"] == tmp_path / "a.xml"
    assert study.systems.mlms.models.language == "Qwen/Qwen2.5-1.5B"
    assert study.systems.mlms.models.audio == str(there / "bert")
    assert study.systems.mlms.models.vision == str(there / "away")
    other = study.system(study.methods[1])
    assert isinstance(other, Mlms)
    assert other.models.audio == str(there / "bert")
    language = "systems.mlms.models.language=Qwen/Qwen2.5-1.5B"
    study = load("quickstart", ("data={folder: mydata}", language))
    assert study.data.folder == here / "mydata"
    assert study.systems.mlms.models.language == str(here / "Qwen" / "Qwen2.5-1.5B")
    assert _load(there, **mlms(models={"audio": "pocket"})).systems.mlms.models.audio == "pocket"
    assert Study(name="mine", data={"folder": "mydata"}).data.folder == here / "mydata"


def test_auto_is_the_cpu_where_nothing_reserves_a_gpu() -> None:
    """The process of the command, in which an emulation inline runs, sees every GPU."""
    assert Study(name="s").torch_device == "cpu"
    assert Study(name="s", resources={"gpu": 0.5}).torch_device == "auto"
    devices = {"device_gpu": 0.5}
    assert Study(name="s", resources=devices).torch_device == "cpu"
    assert Study(name="s", engine="ray", resources=devices).torch_device == "auto"


def test_few_users_ask_a_batch_for_no_more_room_than_they_take() -> None:
    keys = {"users": [2, 4], "users_at_once": 20, "batch_size": 4}
    assert Study(name="s", emulate=keys).emulate is not None
    with pytest.raises(ValueError, match="batch_size 3 has no room for the 4 users of one"):
        Study(name="s", emulate={**keys, "batch_size": 3})


def test_two_studies_differ_by_keys() -> None:
    key = "systems.mlms.fine_tuning.steps"
    one = load("quickstart", ("seeds=[0, 1]",))
    two = load("quickstart", ("seeds=[0, 2]", f"{key}=7", "tokens={audio: 4, vision: 4}"))
    found = differences(one, two)
    assert "seeds.1 1 -> 2" in found
    assert f"{key} {one.systems.mlms.fine_tuning.steps} -> 7" in found
    assert [f.split()[0] for f in found] == [key, "tokens", "seeds.1"]
    assert differences(one, one) == []
    assert differences(one, one.model_copy(update={"loggers": (MlflowConfig(),)})) == []


def test_airs_are_added_but_where_lengths_are_fitted_to_all_of_them() -> None:
    late, fitted = (("deadline_ms=20", f"deadline_policy={own}") for own in ("late", "fit"))
    for keys, found in ((late, []), (fitted, ["airs"])):
        fewer, more = (
            load("quickstart", (*keys, f"airs={own}")) for own in ("awgn", "[awgn, rician]")
        )
        assert [own.split()[0] for own in differences(fewer, more)] == found


def test_single_values_are_lists_of_one(tmp_path: Path) -> None:
    study = _load(tmp_path, airs="awgn", eval_snr_db=3, seeds=2)
    assert study.eval_snr_db == (3.0,)
    assert [air.label for air in study.airs] == ["awgn"]
    assert _load(tmp_path, train_snr_db=float("inf")).train_snr_db == (float("inf"),)


def test_references_are_always_there_and_never_twice(tmp_path: Path) -> None:
    assert _labels(_load(tmp_path, methods=["blind", "aligned"])) == ["aligned"]
