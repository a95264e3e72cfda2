"""The air: Sionna in, torch out. Knows neither tokens nor Ray."""

from .air import SCALE_BITS, Air, Frame, Reception
from .catalogue import AIRS, AirConfig, NamedAir, named_air
from .config import AirBase
from .crowd import CrowdSize
from .digital import DigitalConfig
from .linear import LinearAir
from .numerology import Link, Overhead
from .power import from_db, mean_db, normalise, to_db
from .seeding import spawn_seed
from .source import Members, Realisation, Request, SionnaSource, Source

__all__ = [
    "AIRS",
    "SCALE_BITS",
    "Air",
    "AirBase",
    "AirConfig",
    "CrowdSize",
    "DigitalConfig",
    "Frame",
    "LinearAir",
    "Link",
    "Members",
    "NamedAir",
    "Overhead",
    "Realisation",
    "Reception",
    "Request",
    "SionnaSource",
    "Source",
    "from_db",
    "mean_db",
    "named_air",
    "normalise",
    "spawn_seed",
    "to_db",
]
