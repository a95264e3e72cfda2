"""TaiChi's weights: what phases and sides share, and what is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from actors import DeviceConfig, Network, StationConfig
from channel_models import Link, named_air
from tokcom_core.datasets.samples import read_samples
from tokcom_core.systems.taichi.parameters import named_weights
from tokcom_core.systems.taichi.transmitter import TaichiTransmitter

from .conftest import CaseOf, phase_of


def test_phases_off_the_air_do_not_depend_on_the_air(taichi_case_of: CaseOf) -> None:
    """Neither on k and r nor on coding and decoding, so that all of these share them."""
    systems = [
        taichi_case_of(**keys).system
        for keys in (
            {},
            {"transmitter_layers": 2},
            {"codec": {"symbols_per_token": 2}},
            {"coding": "mse"},
            {"decoding": "relay", "lora": {"rank": 2}},
        )
    ]
    for phase in ("pretraining", "tuning"):
        assert len({own.for_phase(phase).model_dump_json() for own in systems}) == 1
    codecs = [own.for_phase("codec").model_dump_json() for own in systems]
    assert codecs[0] == codecs[3] == codecs[4]
    assert len({codecs[0], codecs[1], codecs[2]}) == 3


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_the_terminal_takes_its_layers_from_the_base_station(
    taichi_case_of: CaseOf, tmp_path: Path, tuning: str
) -> None:
    """Off the air the base station tunes them; afterwards the terminal's own file has them."""
    case = taichi_case_of(language_tuning=tuning)
    apart = replace(case, system=case.system.for_phase("tuning"))
    tuned = apart.unsplit()
    tuned.shake()
    tuned.begin(phase_of(apart, "tuning"))
    for folder, unsplit in ((tmp_path / "tuning", tuned), (tmp_path / "codec", case.unsplit())):
        folder.mkdir()
        if unsplit is not tuned:
            for name, side in unsplit.sides.items():
                side.load(tmp_path / "tuning", name)
            unsplit.begin(phase_of(case, "codec"))
        for name, side in unsplit.sides.items():
            side.save(folder, name)
    saved = load_file(tmp_path / "tuning" / "terminal.safetensors")
    assert not [name for name in saved if name.startswith("language")]
    (tmp_path / "codec" / "station.safetensors").unlink()
    later = case.unsplit().transmitters["terminal"]
    later.load(tmp_path / "codec", "terminal")
    assert isinstance(later, TaichiTransmitter)
    wanted = named_weights(tuned.receiver)
    found = {n: p for n, p in named_weights(later).items() if n.startswith("language")}
    same = {n for n, p in found.items() if n in wanted and torch.equal(p, wanted[n])}
    assert {n for n in found if tuning == "full" or "lora_" in n} - same == (
        {n for n in found if "lora_" in n} if tuning == "full" else set()
    )


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_network_that_trains_phase_after_phase_has_the_layers_that_were_tuned(
    taichi_case_of: CaseOf, tuning: str
) -> None:
    """Without being saved and loaded in between, as a study does."""
    short = {"steps": 2, "batch_size": 2, "learning_rate": 0.1}
    case = taichi_case_of(
        language_tuning=tuning, transmitter_layers=2, tuning=short, codec_training=short
    )
    common = {
        "system": case.system,
        "task": case.task,
        "tokens": case.tokens,
        "seed": 0,
        "samples": case.samples,
        "device": "cpu",
    }
    terminal = DeviceConfig(name="terminal", features=case.features["terminal"], **common)
    sizes = {split: len(read_samples(file)) for split, file in case.samples.items()}
    with Network([terminal], StationConfig(link=Link(), **common), sizes) as network:
        network.set_channel(named_air("awgn"), 10.0)
        before = network.state()
        for name in ("tuning", "codec"):
            network.train(phase_of(case, name))
        after = network.state()
    tuned = [
        name.removeprefix("terminal.")
        for name in before
        if name.startswith("terminal.language") and ("lora_" in name) != (tuning == "full")
    ]
    assert tuned
    for own in tuned:
        assert torch.equal(after[f"terminal.{own}"], after[f"station.{own}"])
    assert not all(torch.equal(after[name], own) for name, own in before.items() if "lang" in name)


@pytest.mark.parametrize("begun", ["encoder", "decoder"])
def test_a_codec_of_which_a_part_is_lost_is_refused(
    taichi_case_of: CaseOf, tmp_path: Path, begun: str
) -> None:
    """As a whole it may be missing: the phases before coding have none."""
    sides = taichi_case_of().unsplit().sides
    for name, side in sides.items():
        side.save(tmp_path, name)
    name = "terminal" if begun == "encoder" else "station"
    file = tmp_path / f"{name}.safetensors"
    weights = load_file(file)
    codec = [key for key in weights if key.startswith(f"{begun}.")]
    save_file({key: own for key, own in weights.items() if key != codec[0]}, file)
    with pytest.raises(ValueError, match=f"1 weights are missing, such as {codec[0]}"):
        sides[name].load(tmp_path, name)
    save_file({key: own for key, own in weights.items() if key not in codec}, file)
    sides[name].load(tmp_path, name)
