"""Device pools: the devices of many users in one process.

A process that has imported torch costs a hundred megabytes or more, and a device must not: the
users of a pool share its frozen encoders, its feature stores and its projections, and what they
send in a batch travels in one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from channel_models import Frame, Members

from ..device import Device, DeviceConfig
from ..messages import MODALITY_OF, Batch, Modality, Stream


@dataclass(frozen=True)
class TransmitRequest:
    """What users are to send: one sample each, ``B`` of them.

    Attributes:
        split: that the samples come from.
        rows: of the split, int64 ``[B]``.
        members: who sends, and when.
        lacking: by modality, bool ``[B]``: users without such a device, or whose device is out.
    """

    split: str
    rows: Tensor
    members: Members
    missing: dict[Modality, Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, where: Tensor) -> TransmitRequest:
        """Only the orders at some places."""
        members = Members(
            self.members.users[where], self.members.intervals[where], self.members.starts_s[where]
        )
        missing = {modality: lack[where] for modality, lack in self.missing.items()}
        return TransmitRequest(self.split, self.rows[where], members, missing)


@dataclass(frozen=True)
class FrameBatch:
    """What a pool's devices send: one frame a stream, and the batch's places of its samples."""

    places: Tensor
    frames: tuple[Frame, ...]


class DevicePool:
    """The devices of some of the users; a plain class, like :class:`Device`.

    Args:
        configs: one of each modality.
        streams: that they send.
        folder: trained transmitters, see :meth:`Device.load`.
    """

    def __init__(
        self, configs: Sequence[DeviceConfig], streams: Sequence[Stream], folder: Path
    ) -> None:
        self._devices = {config.modality: Device(config) for config in configs}
        self._streams = tuple(streams)
        for device in self._devices.values():
            device.load(folder)

    def transmit(self, places: Tensor, orders: TransmitRequest) -> FrameBatch:
        """The frames of these users, in one message."""
        frames = []
        rows = tuple(orders.rows.tolist())
        for stream in self._streams:
            modality = MODALITY_OF[stream]
            muted = tuple(orders.missing[modality].tolist())
            batch = Batch(stream, orders.split, rows, False, muted, orders.members)
            frames.append(self._devices[modality].transmit(batch))
        return FrameBatch(places, tuple(frames))


def merge(frame_batches: Sequence[FrameBatch]) -> tuple[Frame, ...]:
    """One frame a stream with all pools' samples, at their places in the batch."""
    order = torch.argsort(torch.cat([bundle.places for bundle in frame_batches]))
    merged = []
    for parts in zip(*(bundle.frames for bundle in frame_batches), strict=True):
        longest = max(part.symbols.shape[1] for part in parts)

        def padded(values: list[Tensor], longest: int = longest) -> Tensor:
            wide = [nn.functional.pad(v, (0, longest - v.shape[1])) for v in values]
            return torch.cat(wide)[order]

        members = [part.members for part in parts if part.members is not None]
        merged.append(
            replace(
                parts[0],
                symbols=padded([part.symbols for part in parts]),
                valid=padded([part.valid for part in parts]),
                scale=torch.cat([part.scale for part in parts])[order],
                members=Members(
                    *(
                        torch.cat([getattr(m, name) for m in members])[order]
                        for name in ("users", "intervals", "starts_s")
                    )
                ),
            )
        )
    return tuple(merged)
