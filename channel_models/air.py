"""The air contract: frames of all users in, receptions out.

Shapes: ``B`` samples of a batch, ``N`` complex symbols of a frame (they differ between frames).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .frame import Frame, Members, Transport
from .numerology import ROUND_TRIP_MS, Link, Overhead
from .power import to_db
from .seeding import attempt_seed, spawn_seed


@dataclass(frozen=True)
class ChannelOutput:
    """A frame's symbols as an air hands them over.

    Attributes:
        symbols: complex64 ``[B, N]``, equalised, power scale restored.
        noise_var: float32, error variance of a unit-power symbol, broadcastable to ``[B, N]``.
        realised_snr_db: float32 ``[B]``, receive SNR of an antenna under the realised fading. It is
            the mean over all subcarriers of the sender, whether or not the frame fills them.
        erased: bool ``[B, N]``, True where nothing arrived; None if nothing is erased.
        channel_uses: Data symbols that each sample sent in each of its attempts, ``[B, attempts]``;
            None if every sample sent its valid symbols once.
        payload_bits: Information bits that a digital link sent, per sample.
        location: What is known of each sample's place, float ``[B]`` by name (``x_m``,
            ``path_loss_db``; ``tx_power_dbm`` where a link budget sets it).
        biased: Whether the symbols are a (biased) LMMSE estimate; False where nothing is equalised,
            and for packets.
        sinr: Mean SINR of each sample's symbols, float32 ``[B]``, where they stand for others whose
            SINRs differ; None if it follows from ``noise_var``.
    """

    symbols: Tensor
    noise_var: Tensor
    realised_snr_db: Tensor
    erased: Tensor | None = None
    channel_uses: Tensor | None = None
    payload_bits: float = 0.0
    location: dict[str, Tensor] = field(default_factory=dict)
    biased: bool = True
    sinr: Tensor | None = None


COSTS = ("data_channel_uses", "pilot_channel_uses", "control_bits", "airtime_ms", "energy_mj")
"""What a sample costs, as fields of :class:`Overhead`."""


@dataclass(frozen=True)
class Reception:
    """What the base station receives of one frame, after equalisation.

    Attributes:
        symbols: complex64 ``[B, N]``, power scale restored, padding and erased symbols zero.
        valid: bool ``[B, N]``, the frame's.
        noise_var: float32 ``[B, N]``, error variance per unit-power symbol after equalisation.
        realised_snr_db: float32 ``[B]``, receive SNR of an antenna under the realised fading.
        erased: bool ``[B, N]``, True where nothing arrived.
        overhead: What the frame cost, as means over its samples.
        costs: What each sample cost, all attempts together, float64 ``[B]`` on the CPU by the names
            of :data:`COSTS`; zeros for a frame that crosses no air.
        waiting_ms: float64 ``[B]``, how long each sample waited between its attempts.
        location: What is known of each sample's place, float ``[B]`` by name.
        biased: Whether the symbols are an LMMSE estimate.
        sinr: Mean SINR of each sample, see :class:`ChannelOutput`.
    """

    symbols: Tensor
    valid: Tensor
    noise_var: Tensor
    realised_snr_db: Tensor
    erased: Tensor
    overhead: Overhead
    costs: dict[str, Tensor]
    waiting_ms: Tensor
    location: dict[str, Tensor]
    biased: bool = True
    sinr: Tensor | None = None

    @property
    def airtime_ms(self) -> Tensor:
        """How long each sample was on the air, all attempts together, float64 ``[B]``."""
        return self.costs["airtime_ms"]

    @property
    def sinr_db(self) -> Tensor:
        """Mean SINR of each sample's valid symbols after equalisation, float32 ``[B]``.

        It is infinite where the symbols have no error. An erased symbol counts with an SINR of 0.
        """
        arrived = self.valid & ~self.erased
        if self.sinr is not None:
            return to_db(torch.where(arrived.any(1), self.sinr, 0.0))
        sinr = torch.where(arrived, sinr_of_error(self.noise_var, self.biased), 0.0)
        return to_db(sinr.sum(1) / self.valid.sum(1).clamp(min=1))


def sinr_of_error(noise_var: Tensor, biased: bool) -> Tensor:
    """Linear SINR of unit-power symbols of this error variance; estimates may be biased."""
    return (1.0 / noise_var - (1.0 if biased else 0.0)).clamp(min=0.0)


class Air(ABC):
    """The channel from all users to the base station, for one transmission interval.

    Attributes:
        transports: The kinds of frames that it carries.
    """

    transports: tuple[Transport, ...] = ("analog",)

    def __init__(self, link: Link) -> None:
        self.link = link

    def transmit(self, frames: Sequence[Frame], seed: int) -> list[Reception]:
        """Carries the frames of one interval; differentiable in the symbols and the scale.

        ``seed`` fixes noise and fading. Those of a frame follow from the seed, its sender and its
        stream, so that no user's fading depends on who else is on the air. The fading of frames
        with members follows from the population's own seed instead.

        Raises:
            ValueError: if there are no frames, if two have the same sender and stream, or if this
                air does not carry the transport of one.
        """
        names = [(frame.sender, frame.stream) for frame in frames]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"frames of one interval need distinct senders and streams, got {names}"
            )
        for frame in frames:
            if frame.transport not in self.transports:
                raise ValueError(
                    f"{frame.sender}: transport {frame.transport!r} of {frame.stream!r} needs an "
                    "air with a digital link; give the air 'digital'"
                )
        devices = len({frame.sender for frame in frames})
        return [
            _received(frame, carried, self.link, devices)
            for frame, carried in zip(frames, self.propagate(frames, seed), strict=True)
        ]

    @abstractmethod
    def propagate(self, frames: Sequence[Frame], seed: int) -> list[ChannelOutput]:
        """Does what :meth:`transmit` does, but neither counts overhead nor clears padding."""

    @abstractmethod
    def predict_snr(self, senders: Sequence[str], members: Members) -> Tensor:
        """Receive SNR (linear, mean over senders and the band, all antennas combined) ``[B]``.

        This is what a scheduler may know of a population's users before they send. It is computed
        from the same channels that frames of these senders and members will meet.
        """

    @staticmethod
    def seed_of(frame: Frame, seed: int, *role: str) -> int:
        """The seed of a frame for a role in one interval; every attempt has another."""
        return spawn_seed(attempt_seed(seed, frame.attempt), frame.sender, frame.stream, *role)


def _costs(
    frame: Frame, attempts: Sequence[Sequence[int]], output: ChannelOutput, link: Link, devices: int
) -> dict[str, Tensor]:
    """What each sample cost, at the power that it was actually sent at.

    Every attempt is a separate transmission with its own slots and pilots.

    Args:
        frame: What was sent.
        attempts: Data symbols that each sample sent in each attempt.
        output: What the air hands over.
        link: The band.
        devices: Number of devices that share the band.
    """
    costs = [link.costs(uses, devices) for uses in attempts]

    def of_samples(name: str) -> Tensor:
        values = [[getattr(cost, name) for cost in of_attempt] for of_attempt in costs]
        return torch.tensor(values, dtype=torch.float64).sum(0)

    airtime_ms = of_samples("airtime_ms")
    return {
        "data_channel_uses": of_samples("data_channel_uses"),
        "pilot_channel_uses": of_samples("pilot_channel_uses"),
        "control_bits": frame.control_bits * (airtime_ms > 0).double(),
        "airtime_ms": airtime_ms,
        "energy_mj": of_samples("energy_mj") * link.power_fraction(output.location).cpu(),
    }


def _received(frame: Frame, output: ChannelOutput, link: Link, devices: int) -> Reception:
    """Clears padding and erased symbols, and counts what the frame cost.

    If all symbols are valid and none is erased, no mask is needed. Every attempt begins one round
    trip after the attempt before it.
    """
    counts = frame.valid.sum(1, dtype=torch.int32).tolist()
    attempts = [counts] if output.channel_uses is None else output.channel_uses.T.tolist()
    costs = _costs(frame, attempts, output, link, devices)
    means = {name: float(values.mean()) for name, values in costs.items()}
    resent = (torch.tensor(attempts[1:]).reshape(-1, len(counts)) > 0).double().sum(0)
    symbols = output.symbols
    if output.erased is not None:
        symbols = torch.where(frame.valid & ~output.erased, symbols, 0)
    elif min(counts) < symbols.shape[1]:
        symbols = torch.where(frame.valid, symbols, 0)
    nowhere = torch.zeros(1, 1, dtype=torch.bool, device=symbols.device)
    return Reception(
        symbols=symbols,
        valid=frame.valid,
        noise_var=output.noise_var.expand(symbols.shape),
        realised_snr_db=output.realised_snr_db,
        erased=nowhere.expand(symbols.shape) if output.erased is None else output.erased,
        overhead=Overhead(**means, payload_bits=output.payload_bits),
        costs=costs,
        waiting_ms=ROUND_TRIP_MS * resent,
        location=output.location,
        biased=output.biased,
        sinr=output.sinr,
    )
