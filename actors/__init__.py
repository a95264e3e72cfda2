"""Devices and base station, and the split-training step between them."""

from .base_station import BaseStation, Contrast, StationConfig
from .checkpoint import Checkpoints
from .device import Device, DeviceConfig
from .emulation import Emulation, EmulationConfig, Setting, share_of
from .engine import (
    Engine,
    EngineName,
    EngineTimeoutError,
    InlineEngine,
    PeerLostError,
    RayEngine,
    make_engine,
)
from .faults import Faults
from .federation import Federation
from .journal import Journal, Moment
from .messages import MODALITY_OF, Arrival, Batch, Gradient, Modality, Stream, Training
from .network import Evaluation, Network, Part
from .optimiser import seeded

__all__ = [
    "MODALITY_OF",
    "Arrival",
    "BaseStation",
    "Batch",
    "Checkpoints",
    "Contrast",
    "Device",
    "DeviceConfig",
    "Emulation",
    "EmulationConfig",
    "Engine",
    "EngineName",
    "EngineTimeoutError",
    "Evaluation",
    "Faults",
    "Federation",
    "Gradient",
    "InlineEngine",
    "Journal",
    "Modality",
    "Moment",
    "Network",
    "Part",
    "PeerLostError",
    "RayEngine",
    "Setting",
    "StationConfig",
    "Stream",
    "Training",
    "make_engine",
    "seeded",
    "share_of",
]
