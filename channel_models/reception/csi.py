"""What the base station's receiver knows of the channel, and what it can receive with that."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..numerology import Link

Csi = Literal["perfect", "estimated", "none"]
Interpolation = Literal["nearest", "linear", "lmmse"]


@dataclass(frozen=True)
class CsiSettings:
    """What is known of the channel.

    Attributes:
        csi: ``perfect``, ``estimated`` from the pilots, or ``none``, which leaves the received
            signal as it is.
        interpolation: How the channel is estimated between the pilots.
    """

    csi: Csi = "perfect"
    interpolation: Interpolation = "linear"

    def check(self, link: Link, fading: bool) -> None:
        """Raises ValueError for a link on which it could not tell signals from noise or apart."""
        if self.csi == "none" and (link.antennas > 1 or link.access == "sdma"):
            raise ValueError("csi none receives one user with one antenna; take csi perfect")
        if link.access == "sdma" and not fading:
            raise ValueError("access sdma tells users apart by their fading; awgn has none")
        if self.csi == "estimated" and not fading:
            raise ValueError("csi estimated has nothing to estimate on awgn; take csi perfect")
        if self.csi == "estimated" and link.dmrs_symbols == 0:
            raise ValueError("csi estimated needs pilots; take link.dmrs_symbols of 1 or more")
