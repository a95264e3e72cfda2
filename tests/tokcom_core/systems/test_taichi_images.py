"""TaiChi's images: their place in the prompt, and how often they are fused."""

from __future__ import annotations

from pathlib import Path

import torch

from tokcom_core.datasets.samples import Samples, read_samples
from tokcom_core.systems.taichi.transmitter import TaichiTransmitter

from .conftest import CaseOf


@torch.no_grad()
def test_image_states_depend_on_an_instruction_only_if_it_comes_first(
    taichi_case_of: CaseOf,
) -> None:
    for order in ("image-first", "instruction-first"):
        case = taichi_case_of(order=order, codec={"symbols_per_token": None}, transmitter_layers=2)
        unsplit = case.unsplit()
        terminal = unsplit.transmitters["terminal"]
        samples = case.batch("test").take([0, 0])
        columns = {**samples.columns, "instruction": ("is it red", "a blue ball")}
        two = terminal.read("prompt", "test", Samples(columns))
        symbols, valid = terminal("prompt", *two)
        states = torch.view_as_real(symbols).reshape(2, -1, case.system.token_width)
        assert valid.all() and states.shape[1] == 9 + 3
        image = states[:, :9] if order == "image-first" else states[:, -9:]
        assert torch.allclose(image[0], image[1], atol=1e-5) == (order == "image-first")


@torch.no_grad()
def test_images_are_fused_once_while_nothing_of_it_learns(
    taichi_case_of: CaseOf, tmp_path: Path
) -> None:
    """By themselves, so that their tokens do not depend on the batch; new weights, new tokens."""
    case = taichi_case_of()
    samples, terminal = read_samples(case.samples["train"]), case.unsplit().transmitters["terminal"]
    assert isinstance(terminal, TaichiTransmitter)
    assert terminal.visual is not None
    images: list[int] = []
    terminal.visual.register_forward_hook(lambda _, inputs, __: images.append(len(inputs[0])))
    terminal.begin("coding")
    learning = terminal("prompt", *terminal.read("prompt", "train", samples))
    assert images == [len(samples)]
    terminal.begin("codec")
    kept = terminal("prompt", *terminal.read("prompt", "train", samples))
    single = terminal("prompt", *terminal.read("prompt", "train", samples.take([0])))
    target, _ = terminal("states", *terminal.read("states", "train", samples))
    shown = {name for name in samples.media_id if name.endswith(".png")}
    assert len(set(samples.media_id)) > len(shown) + 1
    assert images[1:] == [1] * (len(shown) + 1), "all without an image have the same tokens"
    torch.testing.assert_close(kept, learning)
    torch.testing.assert_close(single[0], kept[0][:1, -single[0].shape[1] :])
    for weights in terminal.visual.parameters():
        weights += 0.1
    terminal.save(tmp_path, "terminal")
    terminal.load(tmp_path, "terminal")
    other, _ = terminal("states", *terminal.read("states", "train", samples))
    assert not torch.allclose(target, other)
