"""Split learning's gradients are autograd's, and it trains what the paper trains."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from actors import (
    AlignmentLossConfig,
    BaseStation,
    Batch,
    Device,
    Network,
    Stream,
    StreamInput,
    Training,
    seeded,
)
from actors.network import _without
from actors.training.optimiser import Optimiser
from channel_models import Frame, named_air, normalise, spawn_seed
from tokcom_core.alignment import info_nce, reconstruction_loss
from tokcom_core.foundation import concatenate
from tokcom_core.transceiver import pool, unpack

from .conftest import NetworkParts

ROWS = (0, 3, 4, 7)
TRAINING = Training(steps=4, learning_rate=1e-3, schedule="linear")
RAYLEIGH = named_air("rayleigh")


class _Split:
    """Plain devices and base station, stepped by hand."""

    def __init__(self, parts: NetworkParts) -> None:
        devices, station = parts
        self.devices = {config.modality: Device(config) for config in devices}
        self.station = BaseStation(station)
        self.station.set_channel(RAYLEIGH, 5.0)
        for device in self.devices.values():
            device.start(TRAINING)

    def frames(self, batches: list[Batch]) -> list[Frame]:
        return [self._device(b).transmit(b) for b in batches]

    def whole_frames(self, batches: list[Batch]) -> list[Frame]:
        """The same frames, still attached to the graph of their transmitters."""
        found = []
        for b in batches:
            device = self._device(b)
            tokens, valid = device._source.tokens(device._samples[b.split], b)
            symbols, valid_symbols = device.transmitter(tokens, valid)
            unit, scale = normalise(symbols, valid_symbols)
            found.append(Frame(device.name, b.stream, unit, valid_symbols, scale))
        return found

    def learn(self, batches: list[Batch], gradients: list[object]) -> None:
        for modality, device in self.devices.items():
            own = [
                g
                for b, g in zip(batches, gradients, strict=True)
                if self._device(b) is self.devices[modality]
            ]
            device.learn(*own)  # type: ignore[arg-type]

    def gradients(self) -> dict[str, Tensor]:
        modules = {
            **{m: d.transmitter for m, d in self.devices.items()},
            "receivers": self.station.receivers,
            "foundation": self.station.foundation,
        }
        return {
            f"{name}.{key}": p.grad.clone()
            for name, module in modules.items()
            for key, p in module.named_parameters()
            if p.grad is not None
        }

    def _device(self, batch: Batch) -> Device:
        return self.devices["text" if batch.stream in ("caption", "question") else batch.stream]


def _alignment_batches() -> list[Batch]:
    return [
        Batch("vision", "align", ROWS, True),
        Batch("audio", "align", ROWS, True),
        Batch("caption", "align", ROWS, True),
        Batch("question", "train", ROWS, True),
    ]


def _task_batches() -> list[Batch]:
    return [Batch(s, "train", ROWS, True) for s in ("vision", "audio", "question")]  # type: ignore[arg-type]


def _assert_same(split: dict[str, Tensor], whole: dict[str, Tensor]) -> None:
    assert split.keys() == whole.keys()
    for name, gradient in split.items():
        torch.testing.assert_close(gradient, whole[name], rtol=1e-4, atol=1e-7, msg=name)
        assert gradient.abs().max() > 0, name


@pytest.fixture
def _no_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the gradients where they are, to be looked at."""
    monkeypatch.setattr(Optimiser, "step", lambda self: None)


@pytest.mark.usefixtures("_no_steps")
def test_stage_1_gradients_are_those_of_end_to_end_autograd(
    parts_of: Callable[..., NetworkParts],
) -> None:
    split, whole = _Split(parts_of()), _Split(parts_of())
    batches = _alignment_batches()
    split.station.start_alignment(TRAINING, AlignmentLossConfig())
    _, *gradients = split.station.align(17, None, *split.frames(batches))
    split.learn(batches, gradients)

    frames = whole.whole_frames(batches)
    receptions = whole.station._air.transmit(frames, spawn_seed(17, "air"))  # type: ignore[union-attr]
    width = whole.station.token_width
    tokens = {
        f.stream: whole.station._tokens(f.stream, r)
        for f, r in zip(frames, receptions, strict=True)
    }
    valid = {f.stream: f.valid[:, :: width // 2] for f in frames}
    sent = {f.stream: unpack(f.symbols * f.scale[:, None], width).detach() for f in frames}
    anchor = pool(tokens["caption"], valid["caption"], "mean").detach()
    loss = sum(
        reconstruction_loss(tokens[s], sent[s], valid[s]) for s in ("caption", "question")
    ) + sum(info_nce(pool(tokens[s], valid[s], "mean"), anchor, 0.07) for s in ("audio", "vision"))
    loss.backward()  # type: ignore[union-attr]
    _assert_same(split.gradients(), whole.gradients())


@pytest.mark.usefixtures("_no_steps")
def test_stage_2_gradients_are_those_of_end_to_end_autograd(
    parts_of: Callable[..., NetworkParts],
) -> None:
    split, whole = _Split(parts_of()), _Split(parts_of())
    for network in (split, whole):
        for name, parameter in network.station.foundation.named_parameters():
            if "lora_B" in name:
                with seeded(spawn_seed(1, name)):
                    torch.nn.init.normal_(parameter, std=0.1)
    batches = _task_batches()
    split.station.start_fine_tuning(TRAINING, "all_tokens")
    _, *gradients = split.station.fine_tune(23, None, "train", ROWS, *split.frames(batches))
    split.learn(batches, gradients)

    frames = whole.whole_frames(batches)
    station = whole.station
    receptions = station._air.transmit(frames, spawn_seed(23, "air"))  # type: ignore[union-attr]
    prompt, valid = concatenate(
        [
            (station._tokens(f.stream, r), f.valid[:, :: station.token_width // 2])
            for f, r in zip(frames, receptions, strict=True)
        ]
    )
    answers = station.foundation.answer_ids([station._answers["train"][row] for row in ROWS])
    station.foundation.train()
    with seeded(spawn_seed(23, "dropout")):
        station.foundation.answer_losses(prompt, valid, answers).all_tokens.backward()
    _assert_same(split.gradients(), whole.gradients())


@pytest.mark.usefixtures("_no_steps")
def test_reconstruction_trains_the_text_receiver_alone(
    parts_of: Callable[..., NetworkParts],
) -> None:
    """Eq. (9) reaches G_T and nothing else; eq. (11) does not reach G_T, whose features anchor."""
    batches = _alignment_batches()
    found = {}
    for contrastive in (False, True):
        network = _Split(parts_of())
        network.station.start_alignment(TRAINING, AlignmentLossConfig(contrastive=contrastive))
        _, *gradients = network.station.align(3, None, *network.frames(batches))
        network.learn(batches, gradients)
        found[contrastive] = network.gradients()
    assert {n.split(".")[1] for n in found[False]} == {"text"}
    assert {".".join(n.split(".")[:2]) for n in found[True]} == {
        "audio.projection",
        "vision.projection",
        "receivers.audio",
        "receivers.vision",
        "receivers.text",
    }
    for name, gradient in found[False].items():
        torch.testing.assert_close(gradient, found[True][name])


@pytest.mark.usefixtures("_no_steps")
def test_the_anchor_learns_from_the_contrastive_loss_where_it_should(
    parts_of: Callable[..., NetworkParts],
) -> None:
    """In the code of paper 1's authors the anchor is not detached."""
    batches = [b for b in _alignment_batches() if b.split == "align"]
    found = {}
    for train_anchor in (False, True):
        network = _Split(parts_of())
        network.station.start_alignment(TRAINING, AlignmentLossConfig(train_anchor=train_anchor))
        network.station.align(3, None, *network.frames(batches))
        found[train_anchor] = network.gradients()
    for name, gradient in found[True].items():
        same = torch.allclose(gradient, found[False][name])
        assert same != name.startswith("receivers.text"), name


@pytest.mark.usefixtures("_no_steps")
def test_stage_2_may_train_on_the_first_answer_token_alone(
    parts_of: Callable[..., NetworkParts],
) -> None:
    network = _Split(parts_of())
    network.station.start_fine_tuning(TRAINING, "first_token")
    report, *_ = network.station.fine_tune(
        23, None, "train", ROWS, *network.frames(_task_batches())
    )
    assert report.losses["task"] == report.losses["first_token"]  # type: ignore[union-attr]
    network.station.start_fine_tuning(TRAINING, "all_tokens")
    report, *_ = network.station.fine_tune(
        23, None, "train", ROWS, *network.frames(_task_batches())
    )
    assert report.losses["task"] != report.losses["first_token"]  # type: ignore[union-attr]


def test_an_answer_does_not_depend_on_the_others_of_its_batch(
    parts_of: Callable[..., NetworkParts], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither on the longest true answer among them: what is generated has one constant limit."""
    network = _Split(parts_of())
    station = network.station
    yes, two = station.foundation.answer_ids(["yes", "two"])[:, 0].tolist()
    monkeypatch.setitem(station._answers, "val", ("yes", "four four four"))
    unknown = station.foundation.tokenizer.unk_token_id

    def generate(prompt: Tensor, valid: Tensor, max_new_tokens: int) -> Tensor:
        """'yes', a token that is no text, and more that only a longer limit shows."""
        return torch.tensor([[yes, unknown, two, two]])[:, :max_new_tokens].repeat(len(prompt), 1)

    monkeypatch.setattr(station.foundation, "generate", generate)
    hits = []
    for rows in ((0,), (0, 1)):
        frames = network.frames([Batch(s, "val", rows, False) for s in ("vision", "question")])  # type: ignore[arg-type]
        hits.append(station.answer(1, "val", rows, *frames).exact[0])
    assert hits[0] == hits[1]


def _changed(network: Network, before: dict[str, Tensor]) -> set[str]:
    after = network.state()
    assert after.keys() == before.keys()
    return {name for name in after if not torch.equal(after[name], before[name])}


def test_each_stage_trains_exactly_what_the_paper_trains(
    parts_of: Callable[..., NetworkParts],
) -> None:
    devices, station = parts_of()
    parts = [
        StreamInput("vision", "align"),
        StreamInput("audio", "align"),
        StreamInput("caption", "align"),
        StreamInput("question", "train"),
    ]
    task = [StreamInput(s, "train") for s in ("vision", "audio", "question")]  # type: ignore[arg-type]
    with Network(devices, station) as network:
        network.set_channel(RAYLEIGH, 10.0)
        everything = network.state()
        network.align(
            TRAINING, AlignmentLossConfig(), parts, {"align": 20, "train": 50}, batch_size=8
        )
        adapter = {n for n in everything if n.startswith("station.adapter.")}
        assert _changed(network, everything) == everything.keys() - adapter
        aligned = network.state()
        network.fine_tune(TRAINING, task, size=50, batch_size=8)
        assert _changed(network, aligned) == everything.keys()
    assert {n.split(".")[0] for n in everything} == {"audio", "vision", "text", "station"} - {
        "text"
    }


def test_frozen_weights_stay_frozen(parts_of: Callable[..., NetworkParts]) -> None:
    network = _Split(parts_of())
    frozen = {
        n: p.clone()
        for n, p in network.station.foundation.named_parameters()
        if not p.requires_grad
    }
    network.station.start_fine_tuning(TRAINING, "all_tokens")
    batches = _task_batches()
    for step in range(3):
        _, *gradients = network.station.fine_tune(
            step, None, "train", ROWS, *network.frames(batches)
        )
        network.learn(batches, gradients)
    for name, parameter in network.station.foundation.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name


def test_calibration_gives_every_receiver_the_embeddings_rms(
    parts_of: Callable[..., NetworkParts],
) -> None:
    network = _Split(parts_of())
    batches = [Batch(b.stream, b.split, b.rows, False) for b in _task_batches()]
    frames = network.frames(batches)
    network.station.calibrate(5, *frames)
    wanted = network.station.foundation.embedding_rms
    receptions = network.station._receive(frames, 5)
    for frame, reception in zip(frames, receptions, strict=True):
        valid = frame.valid[:, :: network.station.token_width // 2]
        rms = network.station._tokens(frame.stream, reception)[valid].square().mean().sqrt()
        assert float(rms) == pytest.approx(wanted, rel=1e-3)


def test_training_lowers_the_losses(parts_of: Callable[..., NetworkParts]) -> None:
    devices, station = parts_of()
    training = Training(steps=40, learning_rate=2e-3, schedule="cosine_with_min_lr")
    parts = [
        StreamInput("vision", "align"),
        StreamInput("audio", "align"),
        StreamInput("caption", "align"),
    ]
    with Network(devices, station) as network:
        network.set_channel(named_air("awgn"), 10.0)
        losses = network.align(training, AlignmentLossConfig(), parts, {"align": 24}, batch_size=24)
    for name in losses[0]:
        assert losses[-1][name] < 0.7 * losses[0][name], name


def test_modalities_are_left_out_on_purpose(parts_of: Callable[..., NetworkParts]) -> None:
    """About as often as asked, each on its own, never the question, and by the seed alone."""
    rows = tuple(range(4000))

    def left_out(stream: Stream, muted: tuple[bool, ...] = ()) -> tuple[bool, ...]:
        return _without(Batch(stream, "train", rows, True, muted), 0.3, 7).muted

    vision, audio = left_out("vision"), left_out("audio")
    assert abs(sum(vision) / 4000 - 0.3) < 5 * (0.21 / 4000) ** 0.5
    both = sum(v and a for v, a in zip(vision, audio, strict=True)) / 4000
    assert abs(both - 0.09) < 5 * (0.09 * 0.91 / 4000) ** 0.5
    assert left_out("question") == ()
    assert left_out("vision") == vision
    assert left_out("vision", (True,) * 4000) == (True,) * 4000
    devices, _ = parts_of()
    device = Device(next(d for d in devices if d.modality == "vision"))
    sent = device.transmit(Batch("vision", "train", (0, 1), True, muted=(True, False)))
    assert not sent.valid[0].any()
    assert sent.valid[1].all()
    assert (sent.symbols[0] == 0).all()
