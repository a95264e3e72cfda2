"""Studies: what is swept, trials, tables and the ``tokcom`` command."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .plan.loading import load, presets
    from .plan.study import Study

__all__ = ["Study", "load", "presets"]


def __getattr__(name: str) -> Any:
    """Imports what is asked for only then: torch, Ray and Sionna take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .plan import loading

    return getattr(loading, name)
