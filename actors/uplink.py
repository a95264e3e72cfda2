"""The uplink: how frames cross the air from the devices to the base station's receiver."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from channel_models import (
    COSTS,
    Air,
    AirBase,
    Frame,
    Link,
    Members,
    Overhead,
    PopulationSize,
    Reception,
    SnrRange,
    spawn_seed,
)
from tokcom_core.systems import Received

from .engines.sionna_1 import RayChannelService
from .messages import LossRules, SampleLog
from .reception import sample_logs


class Uplink:
    """The air between the devices, of one user or many, and the base station.

    Args:
        link: Link, for airtime and energy.
        device: Torch device on which frames are received.
    """

    def __init__(self, link: Link, device: torch.device) -> None:
        self._link = link
        self._device = device
        self._air: Air | None = None
        self._services = cache(RayChannelService)  # channels do not depend on the SNR

    def set_channel(
        self, air: AirBase, snr_db: float | SnrRange, population: PopulationSize | None = None
    ) -> None:
        """Sets the air.

        Raises:
            ValueError: if ``air`` is not an air (but its name, say), or if the link cannot have it.
        """
        if not isinstance(air, AirBase):
            raise ValueError(f"{air!r} is no air; take named_air({air!r})")
        self._air = air.build(self._link, snr_db, str(self._device), self._services, population)

    @property
    def air(self) -> Air:
        """The air that :meth:`set_channel` has set."""
        assert self._air is not None, "set_channel() chooses an air"
        return self._air

    def predict_rates(self, senders: Sequence[str], members: Members) -> Tensor:
        """Achievable rates ``[B]`` of many users in bit/s/Hz, for a scheduler."""
        return torch.log2(1 + self.air.predict_snr(senders, members)).float().cpu()

    def receive(
        self, frames: Sequence[Frame], seed: int, crossing: Collection[str] | None = None
    ) -> list[Reception]:
        """Receives frames, by default all of them over the air.

        With ``crossing``, only frames of these streams cross it; the others are received exactly.
        """
        sent = [f for f in frames if crossing is None or f.stream in crossing]
        receptions = {f.stream: exactly(f) for f in frames}
        if sent:
            received = self.air.transmit(sent, spawn_seed(seed, "air"))
            receptions |= {f.stream: r for f, r in zip(sent, received, strict=True)}
        return [receptions[frame.stream] for frame in frames]

    def receive_logged(
        self,
        frames: Sequence[Frame],
        seed: int,
        rules: LossRules | None,
        crossing: Collection[str] | None = None,
    ) -> tuple[list[Reception], dict[str, SampleLog]]:
        """Receives frames as :meth:`receive` does, and applies the rules of many users.

        With ``rules``, lost samples are erased, and every stream that crosses the air has a log.
        Without, there are no logs.
        """
        received = self.receive(frames, seed, crossing)
        if rules is None:
            return received, {}
        crossed = [
            (f, r)
            for f, r in zip(frames, received, strict=True)
            if crossing is None or f.stream in crossing
        ]
        logs = sample_logs(crossed, self._link.access, rules)
        kept = [
            _without(r, logs[f.stream].lost.to(self._device)) if f.stream in logs else r
            for f, r in zip(frames, received, strict=True)
        ]
        return kept, logs


def receiver_inputs(
    frames: Sequence[Frame], receptions: Sequence[Reception], logs: Mapping[str, SampleLog]
) -> dict[str, Received]:
    """The inputs of a system's receiver, by stream."""
    inputs = {}
    for frame, reception in zip(frames, receptions, strict=True):
        everything = torch.ones_like(frame.scale, dtype=torch.bool)
        log = logs.get(frame.stream)
        inputs[frame.stream] = Received(
            symbols=reception.symbols,
            noise_var=reception.noise_var,
            valid=frame.valid,
            erased=reception.erased,
            sent=(frame.symbols * frame.scale[:, None]).detach(),
            arrived=everything if log is None else log.received.to(frame.symbols.device),
        )
    return inputs


def exactly(frame: Frame) -> Reception:
    """The reception of a frame that does not cross the air: exact and without overhead."""
    nothing = torch.zeros(1, 1, device=frame.symbols.device).expand(frame.symbols.shape)
    none = torch.zeros(len(frame.scale), dtype=torch.float64)
    return Reception(
        symbols=torch.where(frame.valid, frame.symbols * frame.scale[:, None], 0),
        valid=frame.valid,
        noise_var=nothing,
        realised_snr_db=torch.full_like(frame.scale, torch.inf),
        erased=nothing.bool(),
        overhead=Overhead(),
        costs=dict.fromkeys(COSTS, none),
        waiting_ms=none,
        location={},
    )


def _without(reception: Reception, lost: Tensor) -> Reception:
    """The reception with its lost samples, bool ``[B]``, set to zero and erased."""
    symbols = torch.where(lost[:, None], 0, reception.symbols)
    return replace(reception, symbols=symbols, erased=reception.erased | lost[:, None])


def moved(frame: Frame, device: torch.device) -> Frame:
    """The frame on a torch device."""
    return replace(
        frame,
        symbols=frame.symbols.to(device),
        valid=frame.valid.to(device),
        scale=frame.scale.to(device),
    )


def as_leaf(frame: Frame, device: torch.device) -> Frame:
    """A copy of the frame on a torch device; its symbols and scale collect gradients."""
    copy = moved(frame, device)
    return replace(
        copy,
        symbols=copy.symbols.detach().clone().requires_grad_(),
        scale=copy.scale.detach().clone().requires_grad_(),
    )
