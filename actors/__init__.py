"""Devices and base station, and the split-training step between them."""

from .base_station import AlignmentLossConfig, AnswerLoss, BaseStation, StationConfig
from .device import Device, DeviceConfig
from .emulation.emulation import Emulation, EmulationConfig, EmulationSetup
from .emulation.faults import Faults
from .emulation.journal import EmulationState, Journal
from .emulation.population import UserPopulation, interval_s, share_of
from .engines.engine import (
    ActorSpec,
    Engine,
    EngineName,
    EngineTimeoutError,
    InlineEngine,
    PeerLostError,
    Role,
)
from .engines.ray_engine import PlacementStrategy, RayEngine, Share
from .messages import MODALITY_OF, Arrival, Batch, Gradient, Modality, Stream, Training
from .network import Evaluation, Network, StreamInput
from .training.checkpoints import Checkpoints
from .training.federation import Federation
from .training.optimiser import seeded

__all__ = [
    "MODALITY_OF",
    "ActorSpec",
    "AlignmentLossConfig",
    "AnswerLoss",
    "Arrival",
    "BaseStation",
    "Batch",
    "Checkpoints",
    "Device",
    "DeviceConfig",
    "Emulation",
    "EmulationConfig",
    "EmulationSetup",
    "EmulationState",
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
    "Network",
    "PeerLostError",
    "PlacementStrategy",
    "RayEngine",
    "Role",
    "Share",
    "StationConfig",
    "Stream",
    "StreamInput",
    "Training",
    "UserPopulation",
    "interval_s",
    "seeded",
    "share_of",
]
