"""The two stages of paper 1's system: their losses equation by equation, and what each trains."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tokcom_core.systems import Phase, Received
from tokcom_core.systems.mlms.alignment import info_nce
from tokcom_core.systems.mlms.receiver import MlmsReceiver
from tokcom_core.systems.mlms.transceiver import pool
from tokcom_core.systems.tokens import reconstruction_loss, unpack
from tokcom_core.testing import ROWS, Unsplit, handed_over

from .conftest import MLMS_TOKENS, CaseOf, phase_of


def _gradients(unsplit: Unsplit, phase: Phase) -> dict[str, Tensor]:
    torch.stack(list(unsplit.losses(phase).values())).sum().backward()
    found = unsplit.named_parameters()
    return {name: p.grad for name, p in found.items() if p.grad is not None}


def _parts(names: set[str]) -> set[str]:
    """``audio.projection``, ``station.receivers.text`` and the like."""
    return {".".join(n.split(".")[: 3 if n.startswith("station.receivers") else 2]) for n in names}


def test_stage_1_is_equations_9_and_11(mlms_case_of: CaseOf) -> None:
    case = mlms_case_of(alignment={"temperature": 0.05})
    unsplit = case.unsplit()
    receiver, phase = unsplit.receiver, phase_of(case, "alignment")
    assert isinstance(receiver, MlmsReceiver)
    width = receiver.foundation.token_width
    tokens, valid, sent = {}, {}, {}
    for own in phase.inputs:
        symbols, marks = unsplit.send(own)
        head = receiver.receivers[own.stream if own.stream in MLMS_TOKENS else "text"]
        tokens[own.stream] = head(symbols, torch.zeros(symbols.shape))
        valid[own.stream] = marks[:, :: width // 2]
        sent[own.stream] = unpack(symbols, width)
    anchor = pool(tokens["caption"], valid["caption"], "mean")
    expected = {
        f"reconstruction_{s}": reconstruction_loss(tokens[s], sent[s], valid[s])
        for s in ("caption", "question")
    } | {
        f"contrastive_{m}": info_nce(pool(tokens[m], valid[m], "mean"), anchor, 0.05)
        for m in ("audio", "vision")
    }
    losses = unsplit.losses(phase)
    assert losses.keys() == expected.keys()
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name])


def test_reconstruction_trains_the_text_receiver_alone(mlms_case_of: CaseOf) -> None:
    """Eq. (9) reaches G_T and nothing else; eq. (11) does not reach G_T, whose features anchor."""
    cases = {losses: mlms_case_of(alignment=losses) for losses in ("reconstruction", "contrastive")}
    alone, both = (_gradients(c.unsplit(), phase_of(c, "alignment")) for c in cases.values())
    assert _parts(set(alone)) == {"station.receivers.text"}
    assert _parts(set(both)) == {
        "audio.projection",
        "vision.projection",
        "station.receivers.audio",
        "station.receivers.vision",
        "station.receivers.text",
    }
    for name, gradient in alone.items():
        torch.testing.assert_close(gradient, both[name])


def test_the_anchor_learns_from_the_contrastive_loss_where_it_should(mlms_case_of: CaseOf) -> None:
    """In the code of paper 1's authors the anchor is not detached."""
    found = {}
    for train_anchor in (False, True):
        case = mlms_case_of(alignment={"train_anchor": train_anchor})
        found[train_anchor] = _gradients(case.unsplit(), phase_of(case, "alignment"))
    for name, gradient in found[True].items():
        same = torch.allclose(gradient, found[False][name])
        assert same != name.startswith("station.receivers.text"), name


def test_each_stage_trains_exactly_what_the_paper_trains(mlms_case_of: CaseOf) -> None:
    """Stage 1: projections and receivers. Stage 2: the adapter, too, and no frozen weight."""
    case = mlms_case_of()
    unsplit = case.unsplit()
    names = {id(p): name for name, p in unsplit.named_parameters().items()}
    learning = {p.name: {names[id(w)] for w in unsplit.trainable(p.name)} for p in case.phases}
    transceivers = {n for n in names.values() if "projection" in n.split(".") or "receivers" in n}
    adapter = {n for n in names.values() if "lora_" in n}
    assert learning == {"alignment": transceivers, "fine-tuning": transceivers | adapter}
    assert adapter


def test_stage_2_may_train_on_the_first_answer_token_alone(mlms_case_of: CaseOf) -> None:
    for answer_loss in ("first_token", "all_tokens"):
        case = mlms_case_of(fine_tuning={"answer_loss": answer_loss})
        losses = case.unsplit().losses(case.phases[-1])
        assert (losses["task"] == losses["first_token"]) == (answer_loss == "first_token")
        assert not losses["first_token"].requires_grad
        assert case.system.validation_loss in losses


@torch.no_grad()
def test_calibration_gives_every_receiver_the_embeddings_rms(mlms_case_of: CaseOf) -> None:
    case = mlms_case_of()
    unsplit = case.unsplit()
    receiver, phase = unsplit.receiver, case.phases[-1]
    assert isinstance(receiver, MlmsReceiver)
    received = {own.stream: handed_over(*unsplit.send(own)) for own in phase.inputs}
    receiver.calibrate(phase.name, received)
    for stream, own in received.items():
        valid = own.valid[:, :: receiver.foundation.token_width // 2]
        head = receiver.receivers[stream if stream in MLMS_TOKENS else "text"]
        rms = head(own.symbols, own.noise_var)[valid].square().mean().sqrt()
        assert float(rms) == pytest.approx(receiver.foundation.embedding_rms, rel=1e-3)


def test_what_has_not_arrived_teaches_nothing(mlms_case_of: CaseOf) -> None:
    """Neither a caption without its sound, nor an answer without its question."""
    case = mlms_case_of()
    unsplit = case.unsplit()
    nobody = torch.zeros(len(ROWS), dtype=torch.bool)
    alignment, fine_tuning = case.phases
    received = {own.stream: handed_over(*unsplit.send(own)) for own in alignment.inputs}
    silent = {**received, "audio": replace(received["audio"], arrived=nobody)}
    losses = unsplit.receiver.losses(alignment.name, silent, {})
    assert set(alignment.losses) - set(losses) == {"contrastive_audio"}
    received = {own.stream: handed_over(*unsplit.send(own)) for own in fine_tuning.inputs}
    received["question"] = replace(received["question"], arrived=nobody)
    targets = {"train": case.batch("train")}
    assert unsplit.receiver.losses(fine_tuning.name, received, targets) == {}


def _without(received: Received, tokens: slice, width: int) -> Received:
    """A stream of which some tokens are lost: their symbols are no zeros, so as to be noticed."""
    erased = torch.zeros_like(received.valid)
    erased[:, tokens.start * width // 2 : tokens.stop * width // 2] = True
    noise = torch.full_like(received.symbols, 3.0)
    return replace(received, symbols=torch.where(erased, noise, received.symbols), erased=erased)


@torch.no_grad()
def test_lost_tokens_count_in_no_loss_and_no_calibration(mlms_case_of: CaseOf) -> None:
    case = mlms_case_of()
    unsplit, phase = case.unsplit(), case.phases[0]
    receiver, sent = unsplit.receiver, {own.stream: own for own in phase.inputs}
    assert isinstance(receiver, MlmsReceiver)
    width = receiver.foundation.token_width
    whole = {name: handed_over(*unsplit.send(own)) for name, own in sent.items()}
    shorter = {n: replace(own, valid=own.valid.clone()) for n, own in whole.items()}
    for own in shorter.values():
        own.valid[:, width // 2 : width] = False
    lost = {name: _without(own, slice(1, 2), width) for name, own in whole.items()}
    expected = receiver.losses(phase.name, shorter, {})
    found = receiver.losses(phase.name, lost, {})
    assert found.keys() == expected.keys() == set(phase.losses)
    for name, loss in found.items():
        torch.testing.assert_close(loss, expected[name])
    receiver.calibrate(phase.name, lost)
    for stream in ("audio", "vision"):
        own = lost[stream]
        tokens = receiver.receivers[stream](own.symbols, own.noise_var)
        kept = tokens[own.delivered[:, :: width // 2]]
        rms = float(kept.square().mean().sqrt())
        assert rms == pytest.approx(receiver.foundation.embedding_rms, rel=1e-3)
    nothing = {name: replace(own, erased=own.valid) for name, own in whole.items()}
    receiver.calibrate(phase.name, nothing)
    assert all(p.isfinite().all() for p in receiver.parameters())
    losses = receiver.losses(phase.name, nothing, {})
    assert set(losses) == {"reconstruction_caption", "reconstruction_question"}
    assert not any(losses.values())
