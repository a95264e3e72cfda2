"""Devices and base station, and the split-training step between them."""

from .base_station import BaseStation, Contrast, StationConfig
from .device import Device, DeviceConfig
from .engine import Engine, EngineName, EngineTimeoutError, InlineEngine, RayEngine, make_engine
from .messages import MODALITY_OF, Batch, Gradient, Modality, Stream, Training
from .network import Evaluation, Network, Part
from .optimiser import seeded

__all__ = [
    "MODALITY_OF",
    "BaseStation",
    "Batch",
    "Contrast",
    "Device",
    "DeviceConfig",
    "Engine",
    "EngineName",
    "EngineTimeoutError",
    "Evaluation",
    "Gradient",
    "InlineEngine",
    "Modality",
    "Network",
    "Part",
    "RayEngine",
    "StationConfig",
    "Stream",
    "Training",
    "make_engine",
    "seeded",
]
