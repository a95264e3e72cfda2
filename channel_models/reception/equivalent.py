"""PHY abstraction for token symbols: each sample's equivalent flat channel.

Shapes: ``B`` samples, ``N`` symbols of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..air import Air, ChannelOutput
from ..frame import Frame, Members
from .detection import sample_lmmse_estimate
from .linear import LinearAir

PROBED_SYMBOLS = 96


class EquivalentAir(Air):
    """Carries symbols through as much noise as a linear air leaves on a few of them.

    A probe of each frame's first symbols, silent, meets the linear air; the mean error variance e
    of its LMMSE estimates makes the sample's flat channel (1 - e) x + n with error variance e.
    Thousands of long frames so cost what short ones do; how the error varies within a sample is
    lost.

    Args:
        inner: the linear air, several users and all.
        device: torch device.
    """

    def __init__(self, inner: LinearAir, device: str = "cpu") -> None:
        super().__init__(inner.link)
        self._inner = inner
        self._device = device

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        with torch.no_grad():
            probed = self._inner.propagate([_probe(frame) for frame in frames], seed)
        return [
            self._flat(frame, output, Air.seed_of(frame, seed, "equivalent"))
            for frame, output in zip(frames, probed, strict=True)
        ]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        return self._inner.predict_snr(senders, members)

    def _flat(self, frame: Frame, probed: ChannelOutput, seed: int) -> ChannelOutput:
        of_symbol = probed.noise_var.expand(len(frame.symbols), probed.symbols.shape[1])
        error = of_symbol.mean(1, keepdim=True)
        generator = torch.Generator(self._device).manual_seed(seed)
        estimate = sample_lmmse_estimate(frame.symbols, error, frame.scale, generator)
        return ChannelOutput(estimate, error, probed.realised_snr_db, location=probed.location)


def _probe(frame: Frame) -> Frame:
    count = min(PROBED_SYMBOLS, frame.symbols.shape[1])
    silence = torch.zeros_like(frame.symbols[:, :count])
    valid = torch.ones_like(frame.valid[:, :count])
    return Frame(frame.sender, frame.stream, silence, valid, frame.scale, members=frame.members)
