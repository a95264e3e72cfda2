"""Reception of a frame at the base station: means for a table, or sample by sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from channel_models import Frame, Link, Reception, mean_db
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
    received: Sequence[tuple[Frame, Reception]], link: Link, rules: LossRules
) -> dict[str, SampleLog]:
    """Reception of the streams of many users, sample by sample.

    Args:
        received: Frames and their receptions, in the order of sending; a device sends its frames
            one after the other.
        link: One user's share of the band, which is divided among the user's devices.
        rules: Rules by which a sample counts as lost.
    """
    devices = len({frame.sender for frame, _ in received})
    ends_ms: dict[str, Tensor] = {}
    logs = {}
    for frame, reception in received:
        costs = _costs(frame, reception, link, devices)
        turn = "all" if link.access == "tdma" else frame.sender  # whose frames follow each other
        own_ms = costs["airtime_ms"]
        ends_ms[turn] = ends_ms[turn] + own_ms if turn in ends_ms else own_ms
        logs[frame.stream] = _log(frame, reception, rules, ends_ms[turn], costs)
    return logs


def _costs(frame: Frame, reception: Reception, link: Link, devices: int) -> dict[str, Tensor]:
    """Costs of each sample, see :class:`SampleLog`."""
    uses = frame.valid.sum(1).tolist()
    costs = link.costs(uses, devices)

    def of_samples(values: Iterable[float]) -> Tensor:
        return torch.tensor(list(values), dtype=torch.float64)

    location = {name: values.cpu() for name, values in reception.location.items()}
    full_mj = of_samples(cost.energy_mj for cost in costs)
    return {
        "data_channel_uses": of_samples(uses),
        "pilot_channel_uses": of_samples(cost.pilot_channel_uses for cost in costs),
        "control_bits": frame.control_bits * frame.valid.any(1).double().cpu(),
        "airtime_ms": of_samples(cost.airtime_ms for cost in costs),
        "energy_mj": full_mj * link.power_fraction(location),
    }


def _log(
    frame: Frame, reception: Reception, rules: LossRules, ends_ms: Tensor, costs: dict[str, Tensor]
) -> SampleLog:
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
        costs=costs,
        location={name: values.cpu() for name, values in reception.location.items()},
    )
