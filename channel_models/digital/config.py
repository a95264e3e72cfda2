"""The settings of a digital link, as studies write them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DigitalConfig(BaseModel):
    """How tokens become packets.

    Attributes:
        bits: Number of bits of each real value of a token.
        mcs: Index into TS 38.214 table 5.1.3.1-2, or ``adaptive``: the highest that meets
            ``bler_target`` on the channel at the beginning of the slot.
        bler_target: Block error rate that link adaptation aims at, for a token or a whole file.
        retransmissions: How often a packet whose CRC fails is sent again. Each retransmission comes
            a round trip later, under fading of its own, and is combined with what came before
            (chase combining).
        fidelity: ``link`` decodes every packet, at about 0.3 Mbit/s on one CPU thread with Sionna's
            decoder. ``abstract`` draws whether a packet arrives, by the block error rate at its
            effective SINR.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Literal[4, 8, 16] = 8
    mcs: int | Literal["adaptive"] = "adaptive"
    bler_target: float = Field(default=0.1, gt=0, lt=1)
    retransmissions: Literal[0, 1] = 0
    fidelity: Literal["abstract", "link"] = "abstract"

    def token_channel_uses(self, symbols_per_token: int) -> int | None:
        """Channel uses of one token's packet, sent once; None if the MCS is adaptive."""
        if self.mcs == "adaptive":
            return None
        from .modem import packet
        from .quantiser import token_packet_bits

        return packet(token_packet_bits(symbols_per_token, self.bits), self.mcs).symbols
