"""Realisation sources, which yield the path gains and delays of every linear air.

Shapes: ``B`` samples, ``M`` antennas of the base station, ``P`` paths, ``T`` time steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..frame import Members
from ..seeding import sionna_seeded, spawn_seed

ChannelModel = Callable[[int, int, float], tuple[Tensor, Tensor]]
"""Sionna's signature: takes batch size, time steps and sampling frequency (Hz); returns gains ``a``
``[B, 1, M, 1, 1, P, T]`` and delays ``tau`` ``[B, 1, 1, P]`` (s)."""

_SAME = 1e-3
"""Gains are taken as equal if they differ by less than this fraction of the largest gain."""


@dataclass(frozen=True)
class Request:
    """What is asked of a source.

    Attributes:
        batch: Number of independent channels.
        steps: Number of instants, which are 1 / ``sampling_hz`` apart.
        sampling_hz: Rate of the instants.
        stride: OFDM symbols from one instant to the next.
        subcarriers: Number of subcarriers that the user's power is spread over.
        seed: Fixes the realisation.
        sender: Name of the user, for sources whose users keep a place from one interval to the
            next; empty for no user in particular.
        members: Tells the users of a population apart, see :mod:`~channel_models.users.population`.
        neighbours: Whether the samples are users of one drop. Users near each other then have
            similar large-scale parameters, if the source correlates them.
        place_seed: For users who keep no place from one interval to the next, fixes where they
            stand, so that all that is sent in an interval comes from the same place; None takes it
            from ``seed``. Sources read :attr:`seed_of_place`.
        attempt: See :class:`~channel_models.frame.Frame`.
    """

    batch: int
    steps: int
    sampling_hz: float
    subcarriers: int
    seed: int
    sender: str
    members: Members | None = None
    neighbours: bool = False
    place_seed: int | None = None
    attempt: int = 0
    stride: int = 1

    @property
    def seed_of_place(self) -> int:
        """``place_seed``, or what follows from ``seed`` where that is None."""
        return spawn_seed(self.seed, "place") if self.place_seed is None else self.place_seed


@dataclass(frozen=True)
class Realisation:
    """Channels of one user.

    Attributes:
        gains: complex64 ``[B, M, P, T]``.
        delays_s: float32 ``[B, P]``, or ``[1, P]`` where all samples share them.
        location: What is known of each sample's place, float ``[B]`` by name.
    """

    gains: Tensor
    delays_s: Tensor
    location: dict[str, Tensor] = field(default_factory=dict)


class Source(ABC):
    """Yields channels of one user.

    Attributes:
        static: Whether the channel is the same at every time step, so that one step is enough.
        flat: Whether there is a single path without delay, so that all subcarriers have the same
            gain.
    """

    static = False
    flat = False

    @abstractmethod
    def realise(self, request: Request) -> Realisation:
        """Draws the channels of one user."""


def draw(source: Source, request: Request, antennas: int) -> Realisation:
    """Draws a realisation from a source and checks it; on a GPU, only its shapes and types.

    Args:
        source: Yields the realisation.
        request: What is asked of the source.
        antennas: Number of the base station's antennas.

    Raises:
        ValueError: if what the source yields is no realisation of this request, or is not static or
            flat although the source says so.
    """
    channel, who = source.realise(request), f"source {type(source).__name__}"
    if not isinstance(channel, Realisation):
        raise ValueError(f"{who} yields {type(channel).__name__}; return a Realisation")
    gains, delays_s = channel.gains, channel.delays_s
    if not (isinstance(gains, Tensor) and gains.is_complex()):
        raise ValueError(f"{who} yields gains of {_kind(gains)}; return a complex64 tensor")
    paths = gains.shape[2] if gains.ndim == 4 else "paths"
    if gains.shape != (request.batch, antennas, paths, request.steps):
        raise ValueError(
            f"{who} yields gains {list(gains.shape)}; return samples, antennas, paths and time "
            f"steps, here [{request.batch}, {antennas}, {paths}, {request.steps}]"
        )
    if not isinstance(delays_s, Tensor):
        raise ValueError(f"{who} yields delays of {_kind(delays_s)}; return a float32 tensor")
    if delays_s.shape not in ((1, paths), (request.batch, paths)):
        raise ValueError(
            f"{who} yields delays {list(delays_s.shape)}; return one of each path, [1, {paths}], "
            f"or of every sample, [{request.batch}, {paths}]"
        )
    if delays_s.is_cuda:  # looking at values would wait for the GPU at every step
        return channel
    least, most = (float(end) for end in torch.aminmax(delays_s))
    early = least < 0 and bool(((delays_s < 0) & (gains != 0).any(3).any(1)).any())
    if early or not -math.inf < least <= most < math.inf:
        raise ValueError(
            f"{who} yields delays from {least:g} to {most:g} s; they should be finite, 0 or more"
        )
    if source.flat and most > 0:
        raise ValueError(
            f"{who} is flat, but yields delays of up to {most:g} s; say flat = False, or have no "
            "delays"
        )
    if source.static and request.steps > 1 and _varies(gains):
        raise ValueError(
            f"{who} is static, but its gains vary over time steps; say static = False, or have "
            "the same at each"
        )
    return channel


def _varies(gains: Tensor) -> bool:
    """Whether gains differ between time steps by more than rounding."""
    change = (gains - gains[..., :1]).abs().max()
    return bool(change > _SAME * gains.abs().max())


def _kind(value: object) -> str:
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__


class SionnaSource(Source):
    """Any channel model in Sionna's signature, with one user and one transmit antenna.

    Args:
        model: Sionna's model, or one of the user's own.
        static: Whether nothing moves.
        flat: Whether it has a single path without delay.
    """

    def __init__(self, model: ChannelModel, static: bool = False, flat: bool = False) -> None:
        self._model = model
        self.static = static
        self.flat = flat

    def realise(self, request: Request) -> Realisation:
        with sionna_seeded(request.seed):
            gains, delays = self._model(request.batch, request.steps, request.sampling_hz)
        return as_realisation(gains, delays)


def as_realisation(gains: Tensor, delays: Tensor) -> Realisation:
    """Converts from Sionna's axes, with a single user with a single antenna, to ours.

    Raises:
        ValueError: for several receivers, transmitters or transmit antennas.
    """
    if gains.ndim != 7 or gains.shape[1] != 1 or gains.shape[3:5] != (1, 1):
        raise ValueError(
            f"gains should be [batch, 1, antennas, 1, 1, paths, steps], got {list(gains.shape)}"
        )
    shared = delays[:1] if bool((delays == delays[:1]).all()) else delays
    return Realisation(gains[:, 0, :, 0, 0], torch.atleast_2d(shared.reshape(len(shared), -1)))


def random_phases(gains: Tensor, generator: torch.Generator) -> Tensor:
    """Rotations of paths by uniform phases ``[B, 1, P, 1]``, as if a few wavelengths away.

    Args:
        gains: Gains of the paths, ``[B, M, P, T]``.
        generator: A generator of the CPU, so that the draws are the same on every torch device.
    """
    turns = torch.rand(len(gains), 1, gains.shape[2], 1, generator=generator)
    phase = (2 * torch.pi * turns).to(gains.device)
    return torch.polar(torch.ones_like(phase), phase)
