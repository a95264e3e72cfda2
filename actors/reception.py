"""Reception of a frame at the base station: means for a table, or sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from channel_models import Access, Frame, Reception, mean_db
from tokcom_core.systems.tokens import by_token

from .messages import LossRules, ReceptionSummary, SampleLog


def summarise(frame: Frame, reception: Reception) -> ReceptionSummary:
    """Reception of one stream: means over samples. SNRs are averaged on the linear scale.

    SINR and lost fraction are those of the samples that send something.
    """
    sent = by_token(frame.valid, frame.block)
    erased = by_token(reception.erased, frame.block) & sent
    sending = sent.any(1)
    lost = (erased == sent).all(1) & sending
    sinr_db = reception.sinr_db[sending] if sending.any() else reception.sinr_db
    return ReceptionSummary(
        sender=frame.sender,
        tokens=float(sent.sum(1).double().mean()),
        realised_snr_db=mean_db(reception.realised_snr_db),
        sinr_db=mean_db(sinr_db),
        erased_fraction=float(erased.sum() / sent.sum().clamp(min=1)),
        lost_fraction=float(lost.sum()) / max(1, int(sending.sum())),
        sent_fraction=float(sending.double().mean()),
        overhead=reception.overhead,
        location={
            name: float(values.double().mean()) for name, values in reception.location.items()
        },
    )


def sample_logs(
    received: Sequence[tuple[Frame, Reception]], access: Access, rules: LossRules
) -> dict[str, SampleLog]:
    """Reception of the streams of many users, sample by sample.

    Args:
        received: Frames and their receptions, in the order of sending; a device sends its frames
            one after the other.
        access: How the devices of a user share the band.
        rules: Rules by which a sample counts as lost.
    """
    ends_ms: dict[str, Tensor] = {}
    logs = {}
    for frame, reception in received:
        turn = "all" if access == "tdma" else frame.sender  # whose frames follow each other
        before_ms = ends_ms.get(turn, torch.zeros(()))
        ends_ms[turn] = before_ms + reception.airtime_ms
        logs[frame.stream] = _log(frame, reception, rules, ends_ms[turn])
    return logs


def _log(frame: Frame, reception: Reception, rules: LossRules, ends_ms: Tensor) -> SampleLog:
    sent = frame.valid.any(1).cpu()
    sinr_db = reception.sinr_db.detach().cpu()
    return SampleLog(
        sender=frame.sender,
        sent=sent,
        lost=sent & rules.lost(frame.stream, sinr_db, ends_ms),
        ends_ms=ends_ms,
        waited_ms=torch.where(sent, rules.waited_ms(frame.stream, ends_ms), 0.0),
        tokens=by_token(frame.valid, frame.block).sum(1).cpu(),
        realised_snr_db=reception.realised_snr_db.detach().cpu(),
        sinr_db=sinr_db,
        costs=reception.costs,
        location={name: values.cpu() for name, values in reception.location.items()},
    )
