"""Studies: plans, trials, tables and the ``tokcom`` command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from .plan.loading import load, presets
    from .plan.study import Study

__all__ = ["Study", "load", "presets", "run"]


def run(study: Study, out: Path | str | None = None) -> pd.DataFrame:
    """Runs (or resumes) a study and returns its results table.

    Args:
        study: Study to run.
        out: Folder or URI of the study; ``studies_out/NAME`` by default.
    """
    from .execution.run import run_study

    return run_study(study, out if out is not None else Path("studies_out") / study.name)


def __getattr__(name: str) -> Any:
    """Imports public names on first use: torch, Ray and Sionna take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .plan import loading

    return getattr(loading, name)
