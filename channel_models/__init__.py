"""The air: Sionna in, torch out. Knows neither tokens nor Ray."""

from .air import Air, Frame, Reception
from .catalogue import AIRS, AirConfig, NamedAir
from .numerology import Link, Overhead
from .power import normalise
from .seeding import spawn_seed

__all__ = [
    "AIRS",
    "Air",
    "AirConfig",
    "Frame",
    "Link",
    "NamedAir",
    "Overhead",
    "Reception",
    "normalise",
    "spawn_seed",
]
