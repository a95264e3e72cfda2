"""What a test sample consists of, and what devices and base station compute for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from tokcom_core.systems import Stream, System, devices_of
from tokcom_core.tasks import Task

from .compute import Compute
from .specs import Cell
from .token_lengths import TokenLengths


def served_streams(system: System, task: Task, tokens: TokenLengths) -> tuple[Stream, ...]:
    """The streams that a test sample consists of, in order."""
    by_name = {stream.name: stream for stream in system.streams(task, tokens)}
    return tuple(by_name[name] for name in system.served(task))


def longest_tokens(streams: Sequence[Stream]) -> dict[str, int]:
    """Number of tokens of the longest sample, by device."""
    found = dict.fromkeys(devices_of(streams), 0)
    for stream in streams:
        found[stream.device] += stream.max_tokens
    return found


@dataclass(frozen=True)
class Operations:
    """Operations that devices and base station compute for a test sample.

    Attributes:
        system: System.
        task: Task.
        lengths: Token length of each device that has a budget.
        tokens: Number of tokens that each device sends.
        windows: Number of the encoders' windows, by device and name of the features.
        files: Streams that travel as files.
    """

    system: System
    task: Task
    lengths: TokenLengths
    tokens: Mapping[str, float]
    windows: Mapping[str, Mapping[str, float]]
    files: Collection[str] = ()

    @property
    def device_gflop(self) -> dict[str, float]:
        """1e9 operations of each device, without devices that send only files."""
        streams = served_streams(self.system, self.task, self.lengths)
        encoding = {stream.device for stream in streams if stream.name not in self.files}
        return {device: own for device, own in self._encoding.items() if device in encoding}

    @property
    def station_gflop(self) -> float:
        """1e9 operations of the base station: encoding of files, and the answer."""
        encoded, left = self._encoding, self.device_gflop
        uploaded = sum(own for device, own in encoded.items() if device not in left)
        return uploaded + self.system.station_gflop(self.task, self.tokens)

    def device_ms(self, compute: Compute) -> float:
        """Time of the slowest device, since devices compute at the same time.

        Without a speed it is 0 and no operations are counted: reading the configurations of the
        models, which that needs, takes a moment.
        """
        if compute.device_gflops is None:
            return 0.0
        return compute.device_ms(max(self.device_gflop.values(), default=0.0))

    def station_ms(self, compute: Compute) -> float:
        """Time of the base station; 0 without a speed, and no operations are counted."""
        return 0.0 if compute.station_gflops is None else compute.station_ms(self.station_gflop)

    @property
    def _encoding(self) -> dict[str, float]:
        """1e9 operations that encode what each device sends, on the device or the base station."""
        system, task, lengths = self.system, self.task, self.lengths
        return {
            device: system.device_gflop(
                task, device, self.tokens, self.windows.get(device, {}), lengths
            )
            for device in devices_of(served_streams(system, task, lengths))
        }


def operations_of(
    cell: Cell, tokens: Mapping[str, float], windows: Mapping[str, Mapping[str, float]]
) -> Operations:
    """Operations of a sample of a cell's test.

    Args:
        cell: Cell.
        tokens: Number of tokens that each device sends.
        windows: Number of the encoders' windows, by device and name of the features.
    """
    transport = cell.crossing.transport
    files = {stream for stream, travels in transport.items() if travels == "file"}
    return Operations(cell.system, cell.task, cell.tested.tokens, tokens, windows, files)
