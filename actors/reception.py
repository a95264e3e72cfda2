"""What the base station has heard of a frame: means for a table, or sample by sample."""

from __future__ import annotations

import torch
from torch import Tensor

from channel_models import SCALE_BITS, Frame, Link, Reception, mean_db

from .emulation.faults import Rules
from .messages import Arrival, StreamLog


def by_token(by_symbol: Tensor, token_width: int) -> Tensor:
    """``[B, N]`` to ``[B, S]``: what holds for the first symbol of a token."""
    return by_symbol[:, :: token_width // 2]


def arrival(frame: Frame, reception: Reception, token_width: int) -> Arrival:
    """How one stream arrived; means over samples, those of SNRs linear."""
    sent = by_token(frame.valid, token_width)
    erased = by_token(reception.erased, token_width) & sent
    return Arrival(
        sender=frame.sender,
        tokens=float(sent.sum(1).double().mean()),
        realised_snr_db=mean_db(reception.realised_snr_db),
        sinr_db=mean_db(reception.sinr_db),
        erased_fraction=float(erased.sum() / sent.sum()),
        lost_fraction=float((erased == sent).all(1).double().mean()),
        overhead=reception.overhead,
        site={name: float(values.double().mean()) for name, values in reception.site.items()},
    )


def stream_log(
    frame: Frame, reception: Reception, link: Link, rules: Rules, devices: int, token_width: int
) -> StreamLog:
    """How one stream of a crowd arrived, sample by sample.

    Args:
        frame: as it was sent.
        reception: as it arrived.
        link: one user's share of the band.
        rules: when it counts as lost.
        devices: of a user, among which the share is divided.
        token_width: d_T.
    """
    sent = frame.valid.any(1).cpu()
    uses = frame.valid.sum(1).tolist()
    costs = link.costs(uses, devices)
    airtime_ms = torch.tensor([cost.airtime_ms for cost in costs], dtype=torch.float64)
    energy_mj = torch.tensor([cost.energy_mj for cost in costs], dtype=torch.float64)
    site = {name: values.cpu() for name, values in reception.site.items()}
    if "tx_power_dbm" in site:
        energy_mj *= 10 ** ((site["tx_power_dbm"].double() - link.tx_power_dbm) / 10)
    sinr_db = reception.sinr_db.detach().cpu()
    return StreamLog(
        sender=frame.sender,
        sent=sent,
        lost=sent & rules.lost(frame.stream, sinr_db, airtime_ms),
        tokens=by_token(frame.valid, token_width).sum(1).cpu(),
        realised_snr_db=reception.realised_snr_db.detach().cpu(),
        sinr_db=sinr_db,
        costs={
            "data_channel_uses": torch.tensor(uses, dtype=torch.float64),
            "pilot_channel_uses": torch.tensor(
                [cost.pilot_channel_uses for cost in costs], dtype=torch.float64
            ),
            "control_bits": SCALE_BITS * sent.double(),
            "airtime_ms": airtime_ms,
            "energy_mj": energy_mj,
        },
        site=site,
    )
