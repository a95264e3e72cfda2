"""SNRs of a study: their ranges, and the pairs of training and evaluation."""

from __future__ import annotations

import math
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator

from channel_models import SnrRange

_HIGHEST_SNR_DB = 100
"""An SNR above it, or below its negative, was not meant in dB."""


def _an_snr(value: float) -> float:
    if math.isnan(value) or (abs(value) > _HIGHEST_SNR_DB and value != math.inf):
        raise ValueError(
            f"an SNR in dB is from {-_HIGHEST_SNR_DB} to {_HIGHEST_SNR_DB}, or .inf for no noise"
        )
    return value + 0.0  # -0 is 0


Snr = Annotated[float, AfterValidator(_an_snr)]


def _of_snrs(values: SnrRange) -> SnrRange:
    return SnrRange(low=_an_snr(values.low), high=_an_snr(values.high))


Snrs = Annotated[SnrRange, AfterValidator(_of_snrs)]

Matched = Literal["matched"]
"""A network for each evaluated SNR, trained at it."""


class TrainingSnr(NamedTuple):
    """Nominal SNR of a training, or a range, and the SNRs that the network is evaluated at."""

    snr_db: float | SnrRange
    eval_snr_db: tuple[float, ...]
    matched: bool = False
