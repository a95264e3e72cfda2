"""The air: Sionna in, torch out. Knows neither tokens nor Ray."""

from .air import SCALE_BITS, Air, Frame, Reception
from .catalogue import AIRS, AirConfig, NamedAir, named_air
from .config import AirBase
from .digital.packets import DigitalConfig
from .numerology import Link, Overhead
from .power import from_db, mean_db, normalise, to_db
from .reception.linear import LinearAir
from .seeding import spawn_seed
from .sources.source import Members, Realisation, Request, SionnaSource, Source
from .users.population import PopulationSize

__all__ = [
    "AIRS",
    "SCALE_BITS",
    "Air",
    "AirBase",
    "AirConfig",
    "DigitalConfig",
    "Frame",
    "LinearAir",
    "Link",
    "Members",
    "NamedAir",
    "Overhead",
    "PopulationSize",
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
