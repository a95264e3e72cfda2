"""Airs whose average SNR differs between intervals, as training over a range of SNRs needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from ..air import Air, ChannelOutput
from ..frame import Frame, Members
from ..snr import SnrRange

AirAt = Callable[[float], Air]
"""Builds the air for an average SNR in dB."""


class VaryingAir(Air):
    """Draws an SNR for every interval, the same for all frames of the interval.

    Args:
        at: Builds the air for an SNR in dB.
        snr_db: Range of the SNRs.
    """

    def __init__(self, at: AirAt, snr_db: SnrRange) -> None:
        self._at, self._snr_db = at, snr_db
        self._middle = at(snr_db.middle)
        super().__init__(self._middle.link)
        self.transports = self._middle.transports

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        return self._at(self._snr_db.draw(seed)).propagate(frames, seed)

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        return self._middle.predict_snr(senders, members)


def at_snr(at: AirAt, snr_db: float | SnrRange) -> Air:
    """The air for one SNR, or for a range of SNRs."""
    return VaryingAir(at, snr_db) if isinstance(snr_db, SnrRange) else at(snr_db)
