"""What is found on this machine of what the package, or a study, uses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is used, as it is here.

    Attributes:
        subject: Name of the thing.
        found: What there is of it.
        cost: What does not work, or not as well; empty if all is well.
        remedy: Command or advice that mends it.
        needed: Whether the cost is that nothing works.
    """

    subject: str
    found: str
    cost: str = ""
    remedy: str = ""
    needed: bool = False

    @property
    def fails(self) -> bool:
        """Whether something is missing that is needed."""
        return self.needed and bool(self.cost)
