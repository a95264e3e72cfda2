"""Linear airs, eq. (6): y = H x + n on the resource grid, for whatever source of H.

Shapes: ``B`` samples, ``U`` users, ``M`` antennas of the base station, ``T`` OFDM symbols with
data, ``F`` subcarriers, ``N`` symbols of a frame. A flat source has a single "subcarrier" with all
symbols after each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..air import Air, ChannelOutput, Frame
from ..numerology import Allocation, Grid, Link
from ..power import to_db
from ..seeding import spawn_seed
from ..sources.source import Members, Request, Source
from .detection import detect_users, gaussian_noise, lmmse_combine, sample_lmmse_estimate
from .estimation import Interpolation, PilotEstimator
from .response import frequency_response, subcarrier_hz

Csi = Literal["perfect", "estimated", "none"]

_PROBES = 8
"""Subcarriers of a user's share that a scheduler looks at."""


@dataclass(frozen=True)
class _Arrival:
    """A frame on its grid, and its channel.

    Attributes:
        symbols: ``[B, T, F]``.
        response: ``[B, M, T or 1, F]`` at the data symbols.
        pilots: ``[B, M, slots, pilots of a slot, F]``; None unless the channel is estimated.
        site: see :class:`~channel_models.air.ChannelOutput`.
    """

    symbols: Tensor
    response: Tensor
    pilots: Tensor | None
    site: dict[str, Tensor]


class LinearAir(Air):
    """Noise behind an optional channel, equalised by LMMSE as far as the channel is known.

    The equaliser is the biased LMMSE estimate with error variance 1 - h^H R^-1 h: unbiased, as
    Sionna's own, it would be zero forcing on one antenna, whose mean noise is infinite under
    Rayleigh fading.

    Args:
        link: the band, how it is shared, the antennas.
        noise_power: N0 per antenna and unit-power symbol.
        source: yields channels; None for noise alone.
        csi: ``perfect``, ``estimated`` from the pilots, or ``none``, which leaves the received
            signal as it is.
        interpolation: of the estimate between pilots.
        device: torch device.

    Raises:
        ValueError: for what cannot be received (several users or antennas without CSI, users on
            the same subcarriers without fading, estimates without pilots).
    """

    def __init__(
        self,
        link: Link,
        noise_power: float,
        source: Source | None,
        csi: Csi = "perfect",
        interpolation: Interpolation = "linear",
        device: str = "cpu",
    ) -> None:
        super().__init__(link)
        check_receivable(link, csi, fading=source is not None)
        self._noise_power = noise_power
        self._source = source
        self._csi = csi
        self._device = torch.device(device)
        self._estimator = (
            PilotEstimator(link, interpolation, source, noise_power, device)
            if csi == "estimated"
            else None
        )

    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        allocations = self.link.allocations([frame.sender for frame in frames])
        if self.link.access != "sdma":
            return [self._alone(frame, allocations[frame.sender], seed) for frame in frames]
        output: dict[int, ChannelOutput] = {}
        for together in _rounds(frames):
            users = [frames[i] for i in together]
            allocation = allocations[users[0].sender]
            output.update(zip(together, self._together(users, allocation, seed), strict=True))
        return [output[i] for i in range(len(frames))]

    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        if self._source is None:
            snr = self.link.antennas / self._noise_power
            return torch.full((len(members.users),), snr, device=self._device)
        found = []
        for sender, allocation in self.link.allocations(senders).items():
            request = Request(
                batch=len(members.users),
                steps=1,
                sampling_hz=1e3 / self.link.symbol_ms,
                subcarriers=allocation.subcarriers,
                seed=0,
                sender=sender,
                members=members,
            )
            band = subcarrier_hz(self.link, allocation, self._device)
            probes = band[:: max(1, len(band) // _PROBES)]
            response = frequency_response(self._source.realise(request), probes)
            power = response.real.square() + response.imag.square()
            found.append(power.sum(1).mean((1, 2)) / self._noise_power)
        return torch.stack(found).mean(0)

    def _alone(self, frame: Frame, allocation: Allocation, seed: int) -> ChannelOutput:
        """One user on resources of its own."""
        n0 = self._noise_power
        generator = self._generator(Air.seed_of(frame, seed, "noise"))
        if self._source is None:
            return self._through_noise(frame, generator)
        arrival = self._arrive(frame, allocation, seed)
        x, h = arrival.symbols, arrival.response
        power = (h.real.square() + h.imag.square()).sum(1)
        snr_db = to_db(power.mean((1, 2)) / self.link.antennas / n0)
        if self._csi == "perfect":
            noise_var = n0 / (power + n0)
            estimate = sample_lmmse_estimate(x, noise_var, frame.scale, generator)
        else:
            received = h * x[:, None] + gaussian_noise(
                (len(x), h.shape[1], *x.shape[1:]), n0, generator
            )
            estimate, noise_var = self._equalise(received, arrival, generator)
            estimate = estimate * frame.scale[:, None, None]
        return _off_grid(frame, estimate, noise_var, snr_db, arrival.site)

    def _through_noise(self, frame: Frame, generator: torch.Generator) -> ChannelOutput:
        """One user where there is no channel: every antenna has the symbol, and its own noise."""
        n0 = self._noise_power
        snr_db = to_db(torch.ones_like(frame.scale) / n0)
        if self._csi == "none":
            received = gaussian_noise(frame.symbols.shape, n0, generator).add_(frame.symbols)
            noise_var = torch.tensor(n0, device=self._device)
            return ChannelOutput(received * frame.scale[:, None], noise_var, snr_db)
        error = torch.tensor(n0 / (self.link.antennas + n0), device=self._device)
        estimate = sample_lmmse_estimate(frame.symbols, error, frame.scale, generator)
        return ChannelOutput(estimate, error, snr_db)

    def _equalise(
        self, received: Tensor, arrival: _Arrival, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Without CSI, or with that of the pilots."""
        n0 = torch.full((), self._noise_power, device=self._device)
        if self._estimator is None or arrival.pilots is None:
            return received[:, 0], n0.expand(received[:, 0].shape)
        rows = received.shape[2]
        h, error = self._estimator.estimate([arrival.pilots], rows, generator)[0]
        return lmmse_combine(received, h, n0 + error)

    def _together(
        self, frames: Sequence[Frame], allocation: Allocation, seed: int
    ) -> list[ChannelOutput]:
        """Users on the same resources, told apart by multiuser LMMSE detection."""
        if len({len(frame.symbols) for frame in frames}) > 1:
            raise ValueError(
                "users that send together need batches of one size, got "
                f"{[len(frame.symbols) for frame in frames]}"
            )
        generator = self._generator(spawn_seed(seed, "noise", frames[0].stream))
        longest = max(frame.symbols.shape[1] for frame in frames)
        arrivals = [self._arrive(frame, allocation, seed, longest) for frame in frames]
        n0 = torch.full((), self._noise_power, device=self._device)
        clean = torch.stack([a.response * a.symbols[:, None] for a in arrivals]).sum(0)
        received = clean + gaussian_noise(clean.shape, self._noise_power, generator)
        known, noise = [a.response for a in arrivals], n0
        if self._estimator is not None:
            rows = received.shape[2]
            pilots = [a.pilots for a in arrivals if a.pilots is not None]
            estimates = self._estimator.estimate(pilots, rows, generator)
            known = [h for h, _ in estimates]
            noise = n0 + torch.stack([error for _, error in estimates]).sum(0)
        active = torch.stack([_on_grid(f.valid, received.shape[2:]) for f in frames], dim=-1)
        detected, errors = detect_users(received, known, active, noise)
        return [
            _off_grid(
                frame,
                detected[..., u] * frame.scale[:, None, None],
                errors[..., u],
                to_db(arrivals[u].response.abs().square().mean((1, 2, 3)) / self._noise_power),
                arrivals[u].site,
            )
            for u, frame in enumerate(frames)
        ]

    def _arrive(
        self, frame: Frame, allocation: Allocation, seed: int, longest: int = 0
    ) -> _Arrival:
        """Puts a frame on its grid and draws its channel."""
        assert self._source is not None
        source = self._source
        length = max(longest, frame.symbols.shape[1])
        flat = source.flat and self._estimator is None
        grid = Grid(length, 1, (0,), ()) if flat else self.link.grid(length, allocation.subcarriers)
        channel = source.realise(
            Request(
                batch=len(frame.symbols),
                steps=1 if source.static else grid.steps,
                sampling_hz=1e3 / self.link.symbol_ms,
                subcarriers=allocation.subcarriers,
                seed=Air.seed_of(frame, seed, "fading"),
                sender=frame.sender,
                members=frame.members,
            )
        )
        if flat:
            response = channel.gains.sum(2)[..., None]
        else:
            response = frequency_response(
                channel, subcarrier_hz(self.link, allocation, self._device)
            )
        pilots = None
        if self._estimator is not None:
            pilots = _steps(response, grid.pilot_steps).unflatten(2, (grid.slots, -1))
        return _Arrival(
            _on_grid(frame.symbols, (len(grid.data_steps), grid.subcarriers)),
            response if source.static else _steps(response, grid.data_steps),
            pilots,
            channel.site,
        )

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(self._device).manual_seed(seed)


def check_receivable(link: Link, csi: Csi, fading: bool) -> None:
    """Raises ValueError for what no receiver here can tell from noise or from each other."""
    if csi == "none" and (link.antennas > 1 or link.access == "sdma"):
        raise ValueError("csi none receives one user with one antenna; take csi perfect")
    if link.access == "sdma" and not fading:
        raise ValueError("access sdma tells users apart by their fading; awgn has none")
    if csi == "estimated" and not fading:
        raise ValueError("csi estimated has nothing to estimate on awgn; take csi perfect")
    if csi == "estimated" and link.dmrs_symbols == 0:
        raise ValueError("csi estimated needs pilots; take link.dmrs_symbols of 1 or more")


def _rounds(frames: Sequence[Frame]) -> list[list[int]]:
    """Which frames are on the air together: the first of every sender, then the second."""
    rounds: list[list[int]] = []
    sent: dict[str, int] = {}
    for i, frame in enumerate(frames):
        number = sent.get(frame.sender, 0)
        sent[frame.sender] = number + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(i)
    return rounds


def _steps(response: Tensor, steps: Sequence[int]) -> Tensor:
    """The response at some time steps; a single one stands for all."""
    if response.shape[2] == 1:
        return response.expand(-1, -1, len(steps), -1)
    return response[:, :, list(steps)]


def _on_grid(values: Tensor, shape: Sequence[int]) -> Tensor:
    """``[B, N]`` to ``[B, T, F]``, frequency first, the rest zero."""
    rows, subcarriers = shape
    missing = rows * subcarriers - values.shape[1]
    padded = nn.functional.pad(values, (0, missing)) if missing else values
    return padded.reshape(-1, rows, subcarriers)


def _off_grid(
    frame: Frame, estimate: Tensor, noise_var: Tensor, snr_db: Tensor, site: dict[str, Tensor]
) -> ChannelOutput:
    count = frame.symbols.shape[1]
    noise_var = noise_var.expand(estimate.shape)
    return ChannelOutput(
        estimate.flatten(1)[:, :count], noise_var.flatten(1)[:, :count], snr_db, site=site
    )
