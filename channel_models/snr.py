"""SNRs to train over: a range instead of a number."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, model_validator

from .seeding import spawn_seed


class SnrRange(BaseModel):
    """A range of SNRs in dB, all equally likely.

    Attributes:
        low, high: The ends of the range in dB.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: FiniteFloat
    high: FiniteFloat

    @model_validator(mode="after")
    def _in_order(self) -> SnrRange:
        if self.low >= self.high:
            raise ValueError(
                f"a range of SNRs from {self.low:g} to {self.high:g} dB is empty; take low < high, "
                "or a number for a single SNR"
            )
        return self

    def __str__(self) -> str:
        """``-6 to 18``, in dB."""
        return f"{self.low:g} to {self.high:g}"

    @property
    def middle(self) -> float:
        """The mean SNR in dB."""
        return (self.low + self.high) / 2

    @property
    def span(self) -> float:
        """Distance between its ends in dB."""
        return self.high - self.low

    def shifted(self, by_db: float) -> SnrRange:
        """The range, moved up by ``by_db``."""
        return SnrRange(low=self.low + by_db, high=self.high + by_db)

    def draw(self, seed: int) -> float:
        """Draws the SNR in dB of the interval with this seed."""
        rng = np.random.default_rng(spawn_seed(seed, "snr"))
        return float(rng.uniform(self.low, self.high))
