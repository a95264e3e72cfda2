"""Sionna 1.x, whose channels are computed by TensorFlow, as a source of realisations.

TensorFlow and this package's Sionna 2 do not share a process. :class:`Sionna1Channels` runs
where Sionna 1.x is installed (``actors.engines.sionna_1`` puts it into an isolated Ray actor)
and yields NumPy arrays. :class:`BankedSource` turns these into a source in this process.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..seeding import spawn_seed
from .delay_line import DelayLine
from .source import Realisation, Request, Source, as_realisation

Arrays = tuple[NDArray[np.complex64], NDArray[np.float32]]
"""Gains ``a`` ``[batch, 1, antennas, 1, 1, paths, steps]`` and delays ``[batch, 1, 1, paths]``."""

_BANK_SEED = 0


class Sionna1Channels:
    """Sionna 1.x's delay-line profiles; a plain class, to be created where TensorFlow is.

    Args:
        family: ``tdl`` or ``cdl``.
        profile: ``a`` to ``e``.
        delay_spread_s: RMS delay spread.
        carrier_hz: Carrier frequency.
        speed_mps: Speed of the user.
        antennas: Number of the base station's antennas.
    """

    def __init__(
        self,
        family: str,
        profile: str,
        delay_spread_s: float,
        carrier_hz: float,
        speed_mps: float,
        antennas: int,
    ) -> None:
        from sionna.phy import config
        from sionna.phy.channel import tr38901

        self._config = config
        if family == "tdl":
            self._model = tr38901.TDL(
                profile.upper(),
                delay_spread_s,
                carrier_hz,
                min_speed=speed_mps,
                num_rx_ant=antennas,
            )
        else:
            user, station = (
                tr38901.PanelArray(
                    num_rows_per_panel=1,
                    num_cols_per_panel=count,
                    polarization="single",
                    polarization_type="V",
                    antenna_pattern="omni",
                    carrier_frequency=carrier_hz,
                )
                for count in (1, antennas)
            )
            self._model = tr38901.CDL(
                profile.upper(),
                delay_spread_s,
                carrier_hz,
                user,
                station,
                "uplink",
                min_speed=speed_mps,
                max_speed=speed_mps,
            )

    def realise(self, batch: int, steps: int, sampling_hz: float, seed: int) -> Arrays:
        """A batch of channels; the same seed yields the same channels."""
        self._config.seed = seed % 2**31
        gains, delays = self._model(batch, steps, sampling_hz)
        return gains.numpy(), delays.numpy()


class ChannelService(ABC):
    """Makes realisations elsewhere; orders return references, so that many can be under way."""

    @abstractmethod
    def ask(self, batch: int, steps: int, sampling_hz: float, seed: int) -> Any:
        """Orders a batch of channels and returns a reference to it.

        The same order returns the same reference again, unless the order failed.
        """

    @abstractmethod
    def get(self, ref: Any) -> Arrays:
        """Returns what was ordered; waits for it, up to the service's deadline."""


ServiceFactory = Callable[[DelayLine], ChannelService]
"""Makes a service; ``actors.engines.sionna_1.RayChannelService`` is one."""


class BankedSource(Source):
    """Channels of a service, ordered in advance as a bank of batches.

    The seed of a request chooses a batch of the bank, and realisations of that batch. So equal
    requests get the same channels, and only the first one waits. A request larger than a batch goes
    on with the next batches; its realisations are distinct until the bank is used up.

    Requests that differ only in their number of steps get the same channels for a shorter or longer
    time, provided that the service draws them alike (Sionna does). So a probe sees the same channel
    as the frame after it.

    Args:
        service: Makes the realisations.
        static: Whether nothing moves.
        batches: Number of batches in the bank.
        batch: Number of realisations in each; a request for more than the whole bank gets some of
            them twice.
        device: Torch device.
    """

    def __init__(
        self,
        service: ChannelService,
        static: bool,
        batches: int = 32,
        batch: int = 128,
        device: str = "cpu",
    ) -> None:
        self._service = service
        self.static = static
        self._seeds = [spawn_seed(_BANK_SEED, "bank", i) for i in range(batches)]
        self._batch = batch
        self._device = device

    def realise(self, request: Request) -> Realisation:
        bank = [
            self._service.ask(self._batch, request.steps, request.sampling_hz, seed)
            for seed in self._seeds
        ]
        generator = torch.Generator().manual_seed(request.seed)
        parts: list[Arrays] = []
        missing = request.batch
        while missing > 0:
            gains, delays = self._service.get(bank[(request.seed + len(parts)) % len(bank)])
            rows = torch.randperm(self._batch, generator=generator)[:missing].numpy()
            parts.append((gains[rows], delays[rows]))
            missing -= len(rows)
        gains, delays = (np.concatenate(part) for part in zip(*parts, strict=True))
        return as_realisation(
            torch.from_numpy(gains).to(self._device), torch.from_numpy(delays).to(self._device)
        )
