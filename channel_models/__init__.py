"""The air: Sionna in, torch out. Knows neither tokens nor Ray.

Importing this package does not import Sionna, which takes seconds: the airs that need it do so.
"""

from .air import COSTS, Air, Reception
from .catalogue.names import AIRS, NamedAir, named_air
from .config import AirBase
from .digital.config import DigitalConfig
from .frame import Frame, Members, Transport
from .generators import kept_generators
from .numerology import Access, InfeasibleBudgetError, Link, LinkSettings, Overhead
from .power import from_db, mean_db, normalise, to_db
from .reception.csi import CsiSettings
from .reception.linear import LinearAir
from .seeding import spawn_seed
from .snr import SnrRange
from .sources.source import Realisation, Request, SionnaSource, Source
from .users.population import PopulationSize

__all__ = [
    "AIRS",
    "COSTS",
    "Access",
    "Air",
    "AirBase",
    "CsiSettings",
    "DigitalConfig",
    "Frame",
    "InfeasibleBudgetError",
    "LinearAir",
    "Link",
    "LinkSettings",
    "Members",
    "NamedAir",
    "Overhead",
    "PopulationSize",
    "Realisation",
    "Reception",
    "Request",
    "SionnaSource",
    "SnrRange",
    "Source",
    "Transport",
    "from_db",
    "kept_generators",
    "mean_db",
    "named_air",
    "normalise",
    "spawn_seed",
    "to_db",
]
