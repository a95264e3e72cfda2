"""Linear airs, eq. (6): y = H x + n on the resource grid, for any source of H.

Shapes: ``B`` samples, ``U`` users, ``M`` antennas of the base station, ``T`` OFDM symbols with
data, ``F`` subcarriers, ``N`` symbols of a frame. On a flat channel the grid is a single row of all
``N`` symbols, see :mod:`~channel_models.reception.signal`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..air import Air, ChannelOutput
from ..frame import Frame, Members
from ..numerology import SYMBOLS_PER_SLOT, Allocation, Link
from ..power import to_db
from ..seeding import attempt_seed, spawn_seed
from ..sources.source import Source
from .csi import CsiSettings
from .detection import detect_users, gaussian_noise, lmmse_combine, sample_lmmse_estimate
from .grid import off_grid, on_grid
from .signal import FadingChannel, UserSignal

if TYPE_CHECKING:
    from .estimation import PilotEstimator


class LinearAir(Air):
    """An optional channel and noise, equalised by LMMSE as far as the channel is known.

    The equaliser yields the biased LMMSE estimate, with error variance 1 - h^H R^-1 h. An unbiased
    one, such as Sionna's, would be zero forcing with one antenna: its mean noise is infinite under
    Rayleigh fading.

    Args:
        link: The band, how it is shared, the antennas.
        noise_power: N0 per antenna and unit-power symbol.
        source: Yields channels; None for noise alone.
        csi_settings: What is known of the channel; by default everything.
        device: Torch device.
        statistics: Channels of one user, whose statistics channel estimation uses; ``source`` by
            default.

    Attributes:
        csi: What the receiver knows of the channel.

    Raises:
        ValueError: for signals that cannot be received (several users or antennas without CSI,
            users on the same subcarriers without fading, estimates without pilots or fading).
    """

    def __init__(
        self,
        link: Link,
        noise_power: float,
        source: Source | None,
        csi_settings: CsiSettings | None = None,
        device: str = "cpu",
        statistics: Source | None = None,
    ) -> None:
        super().__init__(link)
        csi_settings = csi_settings or CsiSettings()
        csi_settings.check(link, fading=source is not None)
        self._noise_power = noise_power
        self.csi = csi_settings.csi
        self._device = torch.device(device)
        estimates = csi_settings.csi == "estimated"
        self._channel = (
            None if source is None else FadingChannel(link, source, estimates, self._device)
        )
        self._estimator: PilotEstimator | None = None
        if estimates:
            from .estimation import PilotEstimator

            self._estimator = PilotEstimator(
                link, csi_settings.interpolation, statistics or source, device
            )

    @property
    def static(self) -> bool:
        """Whether every channel stands still while a frame is sent."""
        return self._channel is None or self._channel.static

    @property
    def unlike_rows(self) -> int:
        """Number of a slot's OFDM symbols that err differently: interpolation between pilots does.

        It is 1 if the channel is known.
        """
        estimated = self.csi == "estimated"
        return SYMBOLS_PER_SLOT - self.link.dmrs_symbols if estimated else 1

    def at(self, noise_power: float) -> LinearAir:
        """The same air at another N0; both share the statistics for channel estimation."""
        other = copy.copy(self)
        other._noise_power = noise_power
        return other

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        allocations = self.link.allocations([frame.sender for frame in frames])
        if self.link.access != "sdma":
            return [self._receive_one(frame, allocations[frame.sender], seed) for frame in frames]
        output: dict[int, ChannelOutput] = {}
        for at_once in _rounds(frames):
            users = [frames[i] for i in at_once]
            allocation = allocations[users[0].sender]
            output.update(zip(at_once, self._receive_several(users, allocation, seed), strict=True))
        return [output[i] for i in range(len(frames))]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        if self._channel is None:
            antennas = float(self.link.antennas)
            gain = torch.full((len(members.users),), antennas, device=self._device)
            return gain / self._noise_power
        by_sender = [
            self._channel.probe_power(sender, members, allocation) / self._noise_power
            for sender, allocation in self.link.allocations(senders).items()
        ]
        return torch.stack(by_sender).mean(0)

    def _receive_one(self, frame: Frame, allocation: Allocation, seed: int) -> ChannelOutput:
        """Receives one user on resources of its own."""
        n0 = self._noise_power
        generator = self._generator(Air.seed_of(frame, seed, "noise"))
        if self._channel is None:
            return self._through_noise(frame, generator)
        signal = self._channel.signal(frame, allocation, seed)
        x, h = signal.symbols, signal.response
        power = (h.real.square() + h.imag.square()).sum(1)
        snr_db = to_db(power.mean((1, 2)) / self.link.antennas / n0)
        if self.csi == "perfect":
            noise_var = n0 / (power + n0)
            estimate = sample_lmmse_estimate(x, noise_var, frame.scale, generator)
        else:
            received = h * x[:, None] + gaussian_noise(
                (len(x), h.shape[1], *x.shape[1:]), n0, generator
            )
            estimate, noise_var = self._equalise(received, signal, generator)
            estimate = estimate * frame.scale[:, None, None]
        return _output(frame, estimate, noise_var, snr_db, signal, biased=self.csi != "none")

    def _through_noise(self, frame: Frame, generator: torch.Generator) -> ChannelOutput:
        """Receives one user without a channel: each antenna gets the symbol and its own noise."""
        n0 = self._noise_power
        snr_db = to_db(torch.ones_like(frame.scale) / n0)
        if self.csi == "none":
            received = gaussian_noise(frame.symbols.shape, n0, generator).add_(frame.symbols)
            noise_var = torch.tensor(n0, device=self._device)
            symbols = received * frame.scale[:, None]
            return ChannelOutput(symbols, noise_var, snr_db, biased=False)
        error = torch.tensor(n0 / (self.link.antennas + n0), device=self._device)
        estimate = sample_lmmse_estimate(frame.symbols, error, frame.scale, generator)
        return ChannelOutput(estimate, error, snr_db)

    def _equalise(
        self, received: Tensor, signal: UserSignal, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Symbols and their error variance, with CSI from the pilots; as received without CSI."""
        n0 = torch.full((), self._noise_power, device=self._device)
        if self._estimator is None or signal.pilots is None:
            return received[:, 0], n0.expand(received[:, 0].shape)
        h, error = self._estimator.estimate(
            [signal.pilots], signal.rows, self._noise_power, generator
        )[0]
        return lmmse_combine(received, h, n0 + error)

    def _receive_several(
        self, frames: Sequence[Frame], allocation: Allocation, seed: int
    ) -> list[ChannelOutput]:
        """Receives users on the same resources, told apart by multiuser LMMSE detection."""
        if len({len(frame.symbols) for frame in frames}) > 1:
            raise ValueError(
                "users that send at once need batches of one size, got "
                f"{[len(frame.symbols) for frame in frames]}"
            )
        of_attempt = attempt_seed(seed, frames[0].attempt)
        generator = self._generator(spawn_seed(of_attempt, "noise", frames[0].stream))
        longest = max(frame.symbols.shape[1] for frame in frames)
        assert self._channel is not None, "CsiSettings.check refuses sdma without fading"
        signals = [self._channel.signal(frame, allocation, seed, longest) for frame in frames]
        n0 = torch.full((), self._noise_power, device=self._device)
        clean = torch.stack([a.response * a.symbols[:, None] for a in signals]).sum(0)
        received = clean + gaussian_noise(clean.shape, self._noise_power, generator)
        active = torch.stack([on_grid(f.valid, received.shape[2:]) for f in frames], dim=-1)
        known, noise = [a.response for a in signals], n0
        if self._estimator is not None:
            rows = signals[0].rows
            pilots = [a.pilots for a in signals if a.pilots is not None]
            estimates = self._estimator.estimate(pilots, rows, self._noise_power, generator)
            known = [h for h, _ in estimates]
            errors = torch.stack([error for _, error in estimates], dim=-1)
            noise = n0 + (errors * active).sum(-1)
        detected, noise_var = detect_users(received, known, active, noise)
        return [
            _output(
                frame,
                detected[..., u] * frame.scale[:, None, None],
                noise_var[..., u],
                to_db(signals[u].response.abs().square().mean((1, 2, 3)) / self._noise_power),
                signals[u],
            )
            for u, frame in enumerate(frames)
        ]

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(seed)


def _rounds(frames: Sequence[Frame]) -> list[list[int]]:
    """Groups of frames that are on the air at once: the first of every sender, then the second."""
    rounds: list[list[int]] = []
    sent: dict[str, int] = {}
    for i, frame in enumerate(frames):
        number = sent.get(frame.sender, 0)
        sent[frame.sender] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(i)
    return rounds


def _output(
    frame: Frame,
    estimate: Tensor,
    noise_var: Tensor,
    snr_db: Tensor,
    signal: UserSignal,
    biased: bool = True,
) -> ChannelOutput:
    """The output for a frame: its part of the grid ``[B, T, F]``."""
    count = frame.symbols.shape[1]
    noise_var = off_grid(noise_var.expand(estimate.shape), count)
    return ChannelOutput(
        off_grid(estimate, count), noise_var, snr_db, location=signal.location, biased=biased
    )
