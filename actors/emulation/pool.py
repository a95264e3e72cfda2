"""Device pools: the devices of many users in one process.

A process that has imported torch takes a hundred megabytes or more, which is too much for each
device. The users of a pool therefore share its frozen encoders, feature stores and projections, and
what they send in a batch travels in one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from tokcom_core.systems import Stream

from ..device import Device, DeviceConfig
from ..messages import FrameBatch, StreamRequest, TransmitRequest


class DevicePool:
    """The devices of some of the users; a plain class, like :class:`Device`.

    Args:
        configs: One config of each device name.
        streams: Streams that a question consists of.
        folder: Folder of the trained transmitters, see :meth:`Device.load`.
    """

    def __init__(
        self, configs: Sequence[DeviceConfig], streams: Sequence[Stream], folder: Path
    ) -> None:
        self._devices = {config.name: Device(config) for config in configs}
        self._streams = tuple(streams)
        for device in self._devices.values():
            device.load(folder)

    def transmit(self, places: Tensor, request: TransmitRequest) -> FrameBatch:
        """The frames of the users of a request, in one message."""
        rows = tuple(request.rows.tolist())
        frames = []
        for stream in self._streams:
            muted = tuple(request.muted[stream.device].tolist())
            one = StreamRequest(stream.name, request.split, rows, False, muted, request.members)
            frames.append(self._devices[stream.device].transmit(one))
        return FrameBatch(places, tuple(frames))

    def count_weights(self) -> dict[str, int]:
        """Number of trained weights of each device."""
        return {name: device.trained_weights for name, device in self._devices.items()}
