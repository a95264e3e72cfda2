"""Second-order statistics of a source's channels, estimated from its realisations.

Shapes: ``R`` realisations, ``M`` antennas, ``F`` subcarriers.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..numerology import SYMBOLS_PER_SLOT, Allocation, Link
from ..sources.source import Realisation, Request, Source, draw
from .response import frequency_response, subcarrier_hz

_REALISATIONS = 400
ESTIMATION_SEED = 38_211
"""Seed of the pilots, and of the channels whose statistics estimation uses."""
MIN_POWER = 1e-30
"""Powers are at least this much where they are divided by."""


def normalised_responses(
    link: Link, source: Source, subcarriers: int, at_once: int = _REALISATIONS
) -> Iterator[Tensor]:
    """Yields responses over a slot, ``[R, M, 14, F]``, ``at_once`` realisations at a time.

    Each realisation is scaled to unit mean power.
    """
    drawn = draw(
        source,
        Request(
            batch=_REALISATIONS,
            steps=SYMBOLS_PER_SLOT,
            sampling_hz=1e3 / link.symbol_ms,
            subcarriers=subcarriers,
            seed=ESTIMATION_SEED,
            sender="",
        ),
        link.antennas,
    )
    frequencies_hz = subcarrier_hz(link, Allocation(0, subcarriers), drawn.gains.device)
    for first in range(0, _REALISATIONS, at_once):
        part = slice(first, first + at_once)
        shared = len(drawn.delays_s) == 1
        delays_s = drawn.delays_s if shared else drawn.delays_s[part]
        response = frequency_response(Realisation(drawn.gains[part], delays_s), frequencies_hz)
        level = response.abs().square().mean((1, 2, 3), keepdim=True).sqrt()
        yield response / level.clamp(min=MIN_POWER)


def covariances(link: Link, source: Source) -> tuple[Tensor, Tensor]:
    """Covariances of the normalised response over the symbols of a slot, and over the band."""
    (response,) = normalised_responses(link, source, link.subcarriers)
    by_symbol = response.permute(2, 0, 1, 3).flatten(1)[:, :: link.subcarriers // 12]
    by_subcarrier = response.permute(3, 0, 1, 2)[..., :1].flatten(1)
    return _covariance(by_symbol), _covariance(by_subcarrier)


def _covariance(observations: Tensor) -> Tensor:
    return observations @ observations.mH / observations.shape[1]
