"""PHY abstraction for token symbols: each sample's equivalent flat channel.

Shapes: ``B`` samples, ``N`` symbols of a frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..air import Air, ChannelOutput, sinr_of_error
from ..frame import Frame, Members
from ..numerology import Allocation
from .detection import sample_lmmse_estimate
from .linear import LinearAir

_MIN_PROBED_SYMBOLS = 96


class EquivalentAir(Air):
    """Carries symbols through as much noise as a linear air leaves on a few of them.

    A silent probe takes the place of each frame's first symbols and crosses the linear air. The
    error variance of its LMMSE estimates, averaged over the symbols that a sample sends, is the e
    of the sample; the mean of their SINRs is that of the sample. The sample's symbols x then cross
    the flat channel (1 - e) x + n, which has error variance e.

    The probe fills the sender's whole band for one OFDM symbol, or for the first slot if the
    channel is estimated: interpolation between pilots errs differently from one OFDM symbol to the
    next. It has 96 symbols or more, but no more than the frame.

    Thousands of long frames thus cost as much as short ones. What is lost is how the error varies
    within a sample, and how a moving channel changes after the probe.

    Args:
        inner: The linear air, which also separates users who share resources.
        device: Torch device.
    """

    def __init__(self, inner: LinearAir, device: str = "cpu") -> None:
        super().__init__(inner.link)
        self._inner = inner
        self._device = device

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        allocations = self.link.allocations([frame.sender for frame in frames])
        with torch.no_grad():
            probes = [self._probe(frame, allocations[frame.sender]) for frame in frames]
            probed = self._inner.propagate(probes, seed)
        return [
            self._flat(frame, output, Air.seed_of(frame, seed, "equivalent"))
            for frame, output in zip(frames, probed, strict=True)
        ]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        return self._inner.predict_snr(senders, members)

    def _probe(self, frame: Frame, allocation: Allocation) -> Frame:
        count = max(_MIN_PROBED_SYMBOLS, self._inner.unlike_rows * allocation.subcarriers)
        silence = torch.zeros_like(frame.symbols[:, :count])
        valid = frame.valid.any(1, keepdim=True).expand(silence.shape)  # idle ones do not interfere
        members, attempt = frame.members, frame.attempt
        return Frame(
            frame.sender, frame.stream, silence, valid, frame.scale,
            members=members, attempt=attempt,
        )  # fmt: skip

    def _flat(self, frame: Frame, probed: ChannelOutput, seed: int) -> ChannelOutput:
        of_symbol = probed.noise_var.expand(probed.symbols.shape)
        sent = frame.valid[:, : of_symbol.shape[1]]
        sent = sent | ~sent.any(1, keepdim=True)  # idle samples: any error will do
        error = (of_symbol * sent).sum(1, keepdim=True) / sent.sum(1, keepdim=True)
        sinr = torch.where(sent, sinr_of_error(of_symbol, probed.biased), 0.0).sum(1) / sent.sum(1)
        generator = torch.Generator(self._device).manual_seed(seed)
        estimate = sample_lmmse_estimate(frame.symbols, error, frame.scale, generator)
        return ChannelOutput(
            estimate, error, probed.realised_snr_db, location=probed.location, sinr=sinr
        )
