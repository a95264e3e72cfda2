"""Flat airs, eq. (6): y = h x + n with one gain a sample, or none (AWGN)."""

from __future__ import annotations

import torch
from sionna.phy.channel import AWGN, ChannelModel
from torch import Tensor

from .air import Air, Frame
from .numerology import Link
from .power import noise_power, to_db
from .seeding import sionna_seeded


class FlatAir(Air):
    """AWGN behind an optional block-fading source, equalised by LMMSE where the gain is known.

    The equaliser is the biased LMMSE estimate h* y / (|h|^2 + N0) with error variance
    N0 / (|h|^2 + N0): unbiased, as Sionna's own, it would be zero forcing on one antenna, whose
    mean noise is infinite under Rayleigh fading.

    Args:
        link: the band and how it is shared.
        snr_db: average receive SNR, see :mod:`channel_models.power`.
        source: yields gains ``a`` and delays in Sionna's signature; None for AWGN alone.
        known_gain: False leaves the received signal as it is (``csi: none``).
        device: torch device.
    """

    def __init__(
        self, link: Link, snr_db: float, source: ChannelModel | None, known_gain: bool, device: str
    ) -> None:
        super().__init__(link)
        self._noise_power = noise_power(snr_db)
        self._source = source
        self._known_gain = known_gain
        self._awgn = AWGN(precision="single", device=device)

    def _carry(self, frame: Frame, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        symbols = frame.symbols
        n0 = torch.full((len(symbols),), self._noise_power, device=symbols.device)
        with sionna_seeded(seed):
            if self._source is None:
                return self._awgn(symbols, n0), n0, to_db(1.0 / n0)
            gain = self._source(len(symbols), 1, 1.0)[0].reshape(-1, 1)
            received = self._awgn(gain * symbols, n0)
        power = gain.abs().square().squeeze(1)
        realised_snr_db = to_db(power / n0)
        if not self._known_gain:
            return received, n0, realised_snr_db
        equalised = gain.conj() * received / (power + n0)[:, None]
        return equalised, n0 / (power + n0), realised_snr_db
