"""Frozen tokens, computed once and shared by every network of a study."""

from typing import Annotated

from pydantic import Field

from .base import Features
from .media import (
    FeatureDtype,
    FeatureStore,
    MediaFeatures,
    Sliding,
    features_of_datasets,
    open_features,
    write_features,
)
from .states import StateStore, TextStates, open_states, write_states
from .text import TextFeatures, TextStore, open_texts, write_texts

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
