"""Devices and base station, and the split-training step between them."""

from .base_station import AnswerLoss, BaseStation, Contrast, StationConfig
from .checkpoint import Checkpoints
from .crowd import Crowd, interval_s, share_of
from .device import Device, DeviceConfig
from .emulation import Emulation, EmulationConfig, Setting
from .engine import (
    Engine,
    EngineName,
    EngineTimeoutError,
    InlineEngine,
    PeerLostError,
    Recipe,
    Role,
)
from .faults import Faults
from .federation import Federation
from .journal import Journal, Moment
from .messages import MODALITY_OF, Arrival, Batch, Gradient, Modality, Stream, Training
from .network import Evaluation, Network, Part
from .optimiser import seeded
from .ray_engine import RayEngine, Share, Together

__all__ = [
    "MODALITY_OF",
    "AnswerLoss",
    "Arrival",
    "BaseStation",
    "Batch",
    "Checkpoints",
    "Contrast",
    "Crowd",
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
    "Recipe",
    "Role",
    "Setting",
    "Share",
    "StationConfig",
    "Stream",
    "Together",
    "Training",
    "interval_s",
    "seeded",
    "share_of",
]
