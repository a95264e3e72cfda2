"""Reception of a frame at the base station: means for a table, or sample by sample."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from channel_models import POWER_SCALE_BITS, Frame, Link, Reception, mean_db

from .messages import Arrival, Rules, StreamLog

GRADIENT_BITS = 32
"""Bits of a value of a gradient."""


def by_token(by_symbol: Tensor, block: int) -> Tensor:
    """Values by symbol ``[B, N]`` to values by token ``[B, S]``: those of its first symbol."""
    return by_symbol[:, ::block]


def arrival(frame: Frame, reception: Reception) -> Arrival:
    """Reception of one stream; means over samples, of SNRs on the linear scale.

    SINR and losses are those of samples that send something.
    """
    sent = by_token(frame.valid, frame.block)
    erased = by_token(reception.erased, frame.block) & sent
    sending = sent.any(1)
    lost = (erased == sent).all(1) & sending
    sinr_db = reception.sinr_db[sending] if sending.any() else reception.sinr_db
    return Arrival(
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


def step_costs(frames: Sequence[Frame], receptions: Sequence[Reception]) -> dict[str, float]:
    """Costs on the air of one training step, per sample of the step; none if nothing crosses it.

    ``samples`` is their number. ``channel_uses_STREAM`` are data symbols of each stream,
    ``uplink_bits`` information bits of packets and the power scales, ``gradient_bits`` the gradient
    that returns: two values a token symbol, and that of the power scale, but nothing of files.
    ``tx_power_dbm`` is there where it is not the link's.

    Args:
        frames: Frames that cross the air.
        receptions: Their receptions.
    """
    if not frames:
        return {}
    samples = max(len(frame.scale) for frame in frames)
    parts = [len(frame.scale) / samples for frame in frames]  # a small split has fewer
    costs = [reception.overhead for reception in receptions]
    powers_dbm = [r.location["tx_power_dbm"] for r in receptions if "tx_power_dbm" in r.location]
    return {
        "samples": float(samples),
        **{
            f"channel_uses_{frame.stream}": part * cost.data_channel_uses
            for frame, part, cost in zip(frames, parts, costs, strict=True)
        },
        "uplink_bits": sum(
            part * (cost.payload_bits + cost.control_bits)
            for part, cost in zip(parts, costs, strict=True)
        ),
        "gradient_bits": sum(
            part * GRADIENT_BITS * (2 * float(frame.valid.sum(1).double().mean()) + 1)
            for frame, part in zip(frames, parts, strict=True)
            if frame.transport != "file"
        ),
        **({"tx_power_dbm": mean_db(torch.cat(powers_dbm))} if powers_dbm else {}),
    }


def stream_log(
    frame: Frame, reception: Reception, link: Link, rules: Rules, devices: int
) -> StreamLog:
    """Reception of one stream of many users, sample by sample.

    Args:
        frame: Frame as it was sent.
        reception: Its reception.
        link: One user's share of the band.
        rules: Rules by which a sample counts as lost.
        devices: Number of a user's devices, among which the share is divided.
    """
    sent = frame.valid.any(1).cpu()
    uses = frame.valid.sum(1).tolist()
    costs = link.costs(uses, devices)
    airtime_ms = torch.tensor([cost.airtime_ms for cost in costs], dtype=torch.float64)
    location = {name: values.cpu() for name, values in reception.location.items()}
    full_mj = torch.tensor([cost.energy_mj for cost in costs], dtype=torch.float64)
    energy_mj = full_mj * link.power_fraction(location)
    sinr_db = reception.sinr_db.detach().cpu()
    return StreamLog(
        sender=frame.sender,
        sent=sent,
        lost=sent & rules.lost(frame.stream, sinr_db, airtime_ms),
        tokens=by_token(frame.valid, frame.block).sum(1).cpu(),
        realised_snr_db=reception.realised_snr_db.detach().cpu(),
        sinr_db=sinr_db,
        costs={
            "data_channel_uses": torch.tensor(uses, dtype=torch.float64),
            "pilot_channel_uses": torch.tensor(
                [cost.pilot_channel_uses for cost in costs], dtype=torch.float64
            ),
            "control_bits": POWER_SCALE_BITS * sent.double(),
            "airtime_ms": airtime_ms,
            "energy_mj": energy_mj,
        },
        location=location,
    )
