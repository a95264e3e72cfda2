"""Findings about what the package, or a study, needs of this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The state, on this machine, of one thing that is used.

    Attributes:
        subject: Name of the thing.
        found: What there is of it.
        cost: What does not work, or not as well; empty if all is well.
        remedy: Command or advice that mends it.
        needed: Whether nothing works without it.
    """

    subject: str
    found: str
    cost: str = ""
    remedy: str = ""
    needed: bool = False

    @property
    def fails(self) -> bool:
        """Whether the thing is needed and missing."""
        return self.needed and bool(self.cost)
