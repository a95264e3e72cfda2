"""Frozen tokens, computed once and shared by every network of a study."""

from typing import Annotated

from pydantic import Field

from .base import Features
from .media import MediaFeatures, features_of_datasets
from .sliding import FeatureDtype, Sliding
from .states import StateStore, TextStates, open_states, write_states
from .store import FeatureStore, open_features
from .text import TextFeatures, TextStore, open_texts, write_texts
from .writing import write_features

AnyFeatures = Annotated[MediaFeatures | TextFeatures | TextStates, Field(discriminator="kind")]

__all__ = [
    "AnyFeatures",
    "FeatureDtype",
    "FeatureStore",
    "Features",
    "MediaFeatures",
    "Sliding",
    "StateStore",
    "TextFeatures",
    "TextStates",
    "TextStore",
    "features_of_datasets",
    "open_features",
    "open_states",
    "open_texts",
    "write_features",
    "write_states",
    "write_texts",
]
