"""Devices and base station, and the split-training step between them."""

from .base_station import BaseStation, StationConfig
from .device import Device, DeviceConfig
from .emulation.config import EmulationConfig, EmulationSetup
from .emulation.emulation import Emulation
from .emulation.journal import EmulationState, Journal
from .engines.engine import (
    ActorSpec,
    Engine,
    EngineName,
    EngineTimeoutError,
    InlineEngine,
    Peer,
    PeerLostError,
    Role,
    StateLostError,
)
from .engines.gpus import hide_unreserved_gpus
from .engines.process import Share
from .engines.ray_engine import PlacementStrategy, RayEngine
from .engines.retries import MAX_RETRIES, RetriesExhaustedError, retrying
from .evaluation import Evaluation
from .faults import Faults
from .messages import Gradient, ReceptionSummary, StepPart, StreamRequest
from .network import Network, Progress
from .population import UserPopulation, airtime_ms, interval_s, share_of
from .step_reports import GRADIENT_BITS
from .training.checkpoints import Checkpoints
from .training.federation import Federation
from .training.optimiser import seeded

__all__ = [
    "GRADIENT_BITS",
    "MAX_RETRIES",
    "ActorSpec",
    "BaseStation",
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
    "Network",
    "Peer",
    "PeerLostError",
    "PlacementStrategy",
    "Progress",
    "RayEngine",
    "ReceptionSummary",
    "RetriesExhaustedError",
    "Role",
    "Share",
    "StateLostError",
    "StationConfig",
    "StepPart",
    "StreamRequest",
    "UserPopulation",
    "airtime_ms",
    "hide_unreserved_gpus",
    "interval_s",
    "retrying",
    "seeded",
    "share_of",
]
