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
from .text import TextFeatures, TextStore, open_texts, write_texts

AnyFeatures = Annotated[MediaFeatures | TextFeatures, Field(discriminator="kind")]

__all__ = [
    "AnyFeatures",
    "FeatureDtype",
    "FeatureStore",
    "Features",
    "MediaFeatures",
    "Sliding",
    "TextFeatures",
    "TextStore",
    "features_of_datasets",
    "open_features",
    "open_texts",
    "write_features",
    "write_texts",
]
