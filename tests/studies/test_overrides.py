"""Keys from the command and from Python, on top of a study: what they set, and who is blamed."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from studies import load
from tokcom_core.datasets.data import Data, MiniMusic
from tokcom_core.systems import Systems
from tokcom_core.systems.mlms import Mlms


def test_overrides() -> None:
    study = load(
        "quickstart", ("systems.mlms.fine_tuning.steps=7", "seeds=[4, 5]", "link.access=tdma")
    )
    assert study.systems.mlms.fine_tuning.steps == 7
    assert study.seeds == (4, 5)
    assert study.link_at(5e6).access == "tdma"
    for bad in ("seeds", "=3", "name.inner=3", "seeds=[1"):
        with pytest.raises(ValueError, match="--set"):
            load("quickstart", (bad,))
    misspelt = "systems.mlms.fine_tuning.stepps=7"
    with pytest.raises(ValueError, match=rf"^--set {misspelt}: no key .* mean 'steps'"):
        load("quickstart", ("seeds=3", misspelt))


def test_yes_and_on_are_no_numbers(tmp_path: Path) -> None:
    """To YAML 1.1 they are booleans, which a key with a number takes for 1."""
    with pytest.raises(ValueError, match=r"seeds\.0 should be a whole number \(got 'yes'\)"):
        load("quickstart", ["seeds=yes"])
    file = tmp_path / "own.yaml"
    file.write_text("name: no\nsystems: {mlms: {alignment: {train_anchor: on}}}")
    study = load(file)
    assert (study.name, study.systems.mlms.alignment.train_anchor) == ("no", True)


def test_an_override_that_no_method_follows_is_refused() -> None:
    """Only where every method of the system sets the key, and all of the keys below it."""
    both = "methods=[{name: aligned, alignment: {steps: 3}}, unaligned]"
    assert load("quickstart", [both, "systems.mlms.alignment.steps=4"])
    alone = "methods=[{name: aligned, alignment: {steps: 3}}]"
    assert load("quickstart", [alone, "systems.mlms.alignment={steps: 4, batch_size: 8}"])
    assert load("quickstart", [alone, "systems.mlms.alignment={}"])
    with pytest.raises(ValueError, match=r"steps=4 changes nothing, .* \{steps: 4\}\}\]$"):
        load("quickstart", [alone, "systems.mlms.alignment.steps=4"])


@pytest.mark.parametrize("later", ["link.access=tdma", "link={access: tdma}"])
def test_an_override_that_another_replaces_is_refused(later: str) -> None:
    """But a key of what was set before it only changes that."""
    with pytest.raises(ValueError, match="is replaced by") as refused:
        load("quickstart", ["seeds=[1]", "link.access=fdma", later])
    assert str(refused.value).startswith(f"--set link.access=fdma is replaced by --set {later}; ")
    study = load("quickstart", ["tokens={audio: 16, vision: 16}", "tokens.audio=4"])
    assert study.tokens == ({"audio": 4, "vision": 16},)


def test_a_key_of_older_versions_says_what_has_taken_its_place() -> None:
    with pytest.raises(ValueError, match=r"no key 'rehearse' any more; .* take models: pocket"):
        load("quickstart", rehearse=True)


def test_keys_that_stand_elsewhere_or_want_another_say_so() -> None:
    with pytest.raises(ValueError, match="train_tokens is a key of a method"):
        load("quickstart", train_tokens="any")
    with pytest.raises(ValueError, match="deadline_policy fit needs a deadline_ms"):
        load("quickstart", deadline_policy="fit")
    with pytest.raises(ValueError, match=r"did you mean 'systems\.mlms\.models'"):
        load("quickstart", ("models.selection=norm",))


def test_a_method_that_is_named_alone_has_keys_too() -> None:
    study = load("quickstart", ["methods=[aligned]", "methods.transport.audio=digital"])
    assert [method.transport for method in study.methods] == [{"audio": "digital"}]


def test_an_air_that_is_named_alone_has_keys_too() -> None:
    study = load("quickstart", ["airs=[rayleigh]", "airs.csi=estimated", "airs.digital.bits=4"])
    (air,) = study.airs
    assert air.digital is not None
    assert (air.name, air.csi, air.digital.bits) == ("rayleigh", "estimated", 4)  # type: ignore[attr-defined]
    assert load("quickstart", ["airs=rician", "airs.k_factor_db=3"]).airs[0].k_factor_db == 3  # type: ignore[attr-defined]


def test_keys_below_one_that_is_not_set() -> None:
    """As in the file of a finished study, which holds every key."""
    study = load("quickstart", ["federation=null", "federation.users=3"])
    assert study.federation is not None
    assert study.federation.users == 3


def test_settings_may_be_objects_wherever_keys_may() -> None:
    made = Data(minimusic=MiniMusic(clips=700, seed=4))
    rates = Systems(mlms=Mlms.model_validate({"fine_tuning": {"learning_rates": [0.05]}}))
    study = load("quickstart", data=made, systems=rates, methods=[Mlms()], scale="smoke")
    assert study.data.minimusic == MiniMusic(clips=60, seed=4)
    assert study.systems.mlms.fine_tuning.learning_rates == (0.05,)
    assert study.system(study.methods[0]).fine_tuning.steps == 2  # type: ignore[attr-defined]


def test_a_smoke_test_is_no_larger_and_as_valid_as_the_study() -> None:
    few = load("quickstart", ["federation.users=2", "scale=smoke"])
    assert few.federation is not None
    assert few.federation.users == 2
    fitted = load("quickstart", ["deadline_ms=[null, 5]", "deadline_policy=fit", "scale=smoke"])
    assert fitted.deadline_ms == (5.0,)
    assert load("quickstart", ["deadline_ms=[null, 5]", "scale=smoke"]).deadline_ms == (None,)


def test_overrides_from_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = load("quickstart", ("seeds=[4, 5]", "link.access=tdma", "data={folder: mine}"))
    mapped = load(
        "quickstart", {"seeds": (4, 5), "link.access": "tdma", "data": {"folder": Path("mine")}}
    )
    keys = load("quickstart", {"link.access": "tdma"}, seeds=[4, 5], data={"folder": "mine"})
    assert said == mapped == keys
    assert keys.data.folder == tmp_path / "mine"
    with pytest.raises(ValueError, match=r"^systems\.mlms\.fine_tuning\.stepps: no key .* 'steps'"):
        load("quickstart", {"systems.mlms.fine_tuning.stepps": 7}, seeds=3)
    with pytest.raises(ValueError, match=r"^seeds: .*got -1"):
        load("quickstart", seeds=-1)
    with pytest.raises(ValueError, match="'seeds=3' should be a list"):
        load("quickstart", "seeds=3")


def test_complaints_blame_the_file_or_the_override(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"name": "mine", "metods": ["aligned"]}))
    with pytest.raises(ValueError, match=r"mine\.yaml: no key 'metods'.*; --set typo=1: no key"):
        load(file, ("typo=1",))


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("tokens=[{audio: 4}]", "tokens.0: .* should have a length for audio and vision"),
        ("task=clevr", "tokens.0: .* should have a length for image"),
        ("methods=[u-deepsc]", "tokens.0: .* names devices that no method has"),
        ("deadline_policy=fit", "deadline_policy fit needs a deadline_ms"),
        ("models.receiver_width=5", "no key 'models'"),
        ("train_tokens=any", "train_tokens is a key of a method"),
    ],
)
def test_the_override_that_does_not_fit_the_rest_is_blamed(override: str, complaint: str) -> None:
    others = ("seeds=[3]", override, "eval_snr_db=[0]")
    with pytest.raises(ValueError, match=rf"^--set {re.escape(override)}: {complaint}"):
        load("quickstart", others)


def test_a_key_of_something_that_has_a_name_needs_the_name() -> None:
    with pytest.raises(ValueError, match=r"high: keys stages without a name; take \{name: .*clip"):
        load("taichi", ("systems.taichi.models.high.stages=[3, 4]",))


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("seeds=true", "seeds"),
        ("seeds=[0, true]", "seeds.1"),
        ("tokens=[{audio: 4, vision: true}]", "tokens.0.vision"),
        ("tokens={audio: true, vision: 4}", "tokens.audio"),
        ("train_snr_db={low: true, high: 18}", "train_snr_db.low"),
        ("data={minimusic: {seed: true}}", "data.minimusic.seed"),
        ("systems.mlms.alignment.steps=true", "systems.mlms.alignment.steps"),
        ("methods=[{name: aligned, alignment: {steps: true}}]", "methods: .*: alignment.steps"),
    ],
)
def test_true_is_not_taken_for_1(override: str, key: str) -> None:
    said = rf"^--set {re.escape(override)}: {key} should be a number \(got True\)$"
    with pytest.raises(ValueError, match=said):
        load("quickstart", [override])


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("digital.mcs=high", "digital.mcs should be a whole number or 'adaptive' (got 'high')"),
        ("train_snr_db=high", "train_snr_db.0 should be 'matched' or a number (got 'high')"),
        ("train_snr_db=200", "train_snr_db.0: an SNR in dB is from -100 to 100"),
        ("resources.cpu=.inf", "resources.cpu should be finite (got inf)"),
        (
            "train_snr_db={low: -500, high: 18}",
            "train_snr_db.0: an SNR in dB is from -100 to 100, or .inf for no noise",
        ),
    ],
)
def test_all_that_a_value_may_be_is_one_message(override: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(f'--set {override}: {complaint}')}[^;]*$"):
        load("quickstart", [override])


def test_of_two_overrides_of_a_key_the_latter_is_blamed() -> None:
    with pytest.raises(ValueError, match=r"^--set seeds=\[-1\]: seeds"):
        load("quickstart", ("seeds=[1]", "seeds=[-1]"))


def test_ranges_and_arrays_are_lists() -> None:
    """From Python; a single number of an array is a single value."""
    study = load(
        "quickstart",
        seeds=range(3),
        eval_snr_db=np.linspace(0, 10, 3),
        bandwidth_hz=np.float64(5e6),
    )
    assert study.seeds == (0, 1, 2)
    assert study.eval_snr_db == (0.0, 5.0, 10.0)
    assert study.bandwidth_hz == (5e6,)
    assert load("quickstart", seeds=np.array(4), deadline_ms=iter([1, None])).seeds == (4,)
    with pytest.raises(ValueError, match=r"seeds.0 should be a whole number \(got 'ab'\)"):
        load("quickstart", seeds="ab")
    with pytest.raises(ValueError, match=r"seeds.1 should be a number \(got True\)"):
        load("quickstart", seeds=[0, np.True_])
