"""Block fading: one gain per sample and antenna."""

from __future__ import annotations

import math

import torch

from .source import Realisation, Request, Source


class BlockFading(Source):
    """One path per sample: Rayleigh, or Rician with a line of sight at a random angle; E|h|^2 = 1.

    Args:
        antennas: Number of the base station's antennas, a uniform linear array of half-wavelength
            spacing.
        k_factor_db: Ratio of the power of the line of sight to that of the scattered part; -inf
            is Rayleigh fading.
        device: Torch device of the realisations.
    """

    static = True
    flat = True

    def __init__(self, antennas: int, k_factor_db: float, device: str) -> None:
        k = 10.0 ** (k_factor_db / 10.0)
        self._line_of_sight = math.sqrt(k / (1.0 + k))
        self._scattered = math.sqrt(1.0 / (1.0 + k))
        self._antennas = antennas
        self._device = device

    def realise(self, request: Request) -> Realisation:
        generator = torch.Generator(self._device).manual_seed(request.seed)
        shape = (request.batch, self._antennas, 1, 1)
        gains = self._scattered * torch.randn(
            shape, dtype=torch.complex64, device=self._device, generator=generator
        )
        if self._line_of_sight:
            start, angle = (
                2
                * math.pi
                * torch.rand((2, request.batch, 1, 1, 1), device=self._device, generator=generator)
            )
            element = torch.arange(self._antennas, device=self._device)[:, None, None]
            phase = start + math.pi * element * torch.sin(angle)
            gains = gains + self._line_of_sight * torch.polar(torch.ones_like(phase), phase)
        delays = torch.zeros(1, 1, device=self._device)
        return Realisation(gains.expand(-1, -1, -1, request.steps), delays)
