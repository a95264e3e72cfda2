"""Systems: what each paper proposes, and the methods that studies compare."""

from .base import FeatureFolders, Seeded, System, TokenLengths
from .catalogue import (
    DEFAULT_METHODS,
    RECIPES,
    SYSTEMS,
    NamedSystem,
    Systems,
    method_keys,
    system_class,
    system_named_by,
    system_of,
)
from .methods import (
    SHORT_NAMES,
    STREAM_KINDS,
    SUMMARIES,
    Method,
    flattened,
    merged,
    transport_of,
)
from .phases import Phase, StreamInput, Training
from .sides import STATION, Predictions, Receiver, Transmitter
from .streams import Feedback, Received, Stream, Transport, devices_of

__all__ = [
    "DEFAULT_METHODS",
    "RECIPES",
    "SHORT_NAMES",
    "STATION",
    "STREAM_KINDS",
    "SUMMARIES",
    "SYSTEMS",
    "FeatureFolders",
    "Feedback",
    "Method",
    "NamedSystem",
    "Phase",
    "Predictions",
    "Received",
    "Receiver",
    "Seeded",
    "Stream",
    "StreamInput",
    "System",
    "Systems",
    "TokenLengths",
    "Training",
    "Transmitter",
    "Transport",
    "devices_of",
    "flattened",
    "merged",
    "method_keys",
    "system_class",
    "system_named_by",
    "system_of",
    "transport_of",
]
