"""A spec: everything that an artifact depends on, hashed into the artifact's name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

SCHEMA = 1
"""Version of artifacts, raised when their meaning changes, so that old ones are not reused."""


class Spec(BaseModel):
    """Everything that an artifact depends on; its hash is the artifact's name."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    @property
    def kind(self) -> str:
        return type(self).__name__.removesuffix("Spec").lower()

    @cached_property
    def key(self) -> str:
        """Name of the artifact."""
        return f"{self.kind}-{digest(self.model_dump(mode='json'))}"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy with other values, and so with a key of its own."""
        copied = super().model_copy(update=update, deep=deep)
        for cached in copied.__dict__.keys() - type(self).model_fields.keys():
            del copied.__dict__[cached]
        return copied

    @property
    def inputs(self) -> tuple[Spec, ...]:
        """The specs whose artifacts this one needs."""
        return ()


def digest(value: Any) -> str:
    """A short hash of plain data."""
    text = json.dumps([SCHEMA, value], sort_keys=True, allow_nan=True)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
