"""Studies: plans, trials, tables and the ``tokcom`` command."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from .plan.loading import load, presets
    from .plan.study import Study
    from .tables.allocation import Policy
    from .tables.frontier import pareto
    from .tables.lines import curve

__all__ = [
    "Study",
    "allocate",
    "budget",
    "compare",
    "curve",
    "judge",
    "load",
    "pareto",
    "presets",
    "read",
    "run",
    "search",
    "summarise",
]


def run(study: Study | Path | str, out: Path | str | None = None) -> pd.DataFrame:
    """Runs (or resumes) a study and returns its results table.

    Args:
        study: Study to run, or the preset or file to :func:`load` it from.
        out: Folder or URI of the study; ``studies_out/NAME`` by default.

    Raises:
        ValueError: for a study that cannot be loaded or cannot run, or a folder with another one.
    """
    from .execution.run import run_study

    study = _loaded(study)
    return run_study(study, out if out is not None else Path("studies_out") / study.name).results


def search(
    study: Study | Path | str,
    method: str,
    over: Mapping[str, Any],
    out: Path | str | None = None,
    **keys: Any,
) -> pd.DataFrame:
    """Searches the settings with which a method learns best under the study's budget.

    Args:
        study: Study with one condition, or the preset or file to :func:`load` it from; its first
            seed counts.
        method: Label of the method.
        over: For each dotted key of the study that is searched, a list of values to choose from, or
            a range of them: ``{"low": 1e-4, "high": 1e-2, "log": True}``.
        out: Folder or URI of the search; ``studies_out/NAME-search`` by default.
        keys: ``trials``, ``by``, ``stops_early`` and ``seed`` of a
            :class:`studies.plan.search.Search`.

    Returns:
        A row for each trial, the best first, see
        :func:`studies.execution.parameter_search.search_settings`.

    Raises:
        ValueError: for a study or values that cannot be searched.
    """
    from .execution.parameter_search import search_settings
    from .plan.search import search_of

    study = _loaded(study)
    place = out if out is not None else Path("studies_out") / f"{study.name}-search"
    return search_settings(study, search_of(method=method, over=over, **keys), place)


def read(out: Path | str, table: str = "results") -> pd.DataFrame:
    """All rows of a table of a study; methods, airs and the like are categories in its order.

    Args:
        out: Folder or URI of the study.
        table: ``results``, ``answers``, ``devices`` or ``curves``; ``docs/tables.md`` has their
            columns.

    Raises:
        ValueError: for an unknown table, or a study without a finished cell.
    """
    from .execution.finished import findings_of
    from .tables.reading import read_table

    return read_table(findings_of(out), table)


def summarise(out: Path | str, part: str | None = None) -> pd.DataFrame:
    """Accuracy of each condition of a study over all of its seeds, with its 95 % interval.

    Args:
        out: Folder or URI of the study.
        part: Part of the task, or group of its questions; all questions by default.

    Returns:
        A row for each condition, see :func:`studies.tables.summary.summarise`. For a part, it lacks
        realised SNR, channel uses, airtime, latency, energy and whether the deadline is met: these
        are known only for all questions together.

    Raises:
        ValueError: for an unknown part, or a study without a finished cell.
    """
    from .execution.finished import findings_of
    from .tables.summary import OF_ALL_QUESTIONS, summarise_part

    found = findings_of(out)
    _, summary = summarise_part(found.results, found.answered, found.tables.layout, part)
    return summary if part is None else summary.drop(columns=list(OF_ALL_QUESTIONS))


def compare(out: Path | str, first: str, second: str, part: str | None = None) -> pd.DataFrame:
    """Difference in accuracy of two methods of a study, paired by seed and question.

    Args:
        out: Folder or URI of the study.
        first, second: Labels of the methods; the difference is ``first`` minus ``second``.
        part: Part of the task, or group of its questions; all questions by default.

    Returns:
        A row for each condition, see :func:`studies.tables.comparison.compare_methods`.

    Raises:
        ValueError: for an unknown method or part, or if the two have no condition in common.
    """
    from .execution.finished import findings_of
    from .tables.comparison import compare_methods

    found = findings_of(out)
    return compare_methods(found.tables, found.results, first, second, part)


def judge(out: Path | str) -> pd.DataFrame:
    """The verdict on each claim of a study in each condition: shown, not shown or contradicted.

    Args:
        out: Folder or URI of the study.

    Returns:
        A row for each claim and condition, see :func:`studies.tables.claims.judge`.

    Raises:
        ValueError: for a study without a finished cell.
    """
    from .execution.finished import findings_of

    return findings_of(out).verdicts


def budget(
    out: Path | str,
    bandwidth_hz: float,
    deadline_ms: float | None = None,
    snr_db: float | None = None,
    users: int = 1,
) -> pd.DataFrame:
    """The conditions of a finished study that a link carries in time.

    Args:
        out: Folder or URI of the study.
        bandwidth_hz: Bandwidth of all users together.
        deadline_ms: Longest latency of a question; any by default.
        snr_db: SNR at the receiver, which leaves out airs with a link budget; every evaluated one
            by default.
        users: Number of users who send at once, each on an equal share of the band.

    Returns:
        A row for each condition, the most accurate of each air and SNR first, see
        :func:`studies.tables.affordable.affordable`.

    Raises:
        ValueError: for a study without a finished cell, or a link that carries nothing of it; with
            emulated users, for a bandwidth that was not emulated.
    """
    from .execution.finished import findings_of
    from .tables.affordable import LinkLimits, affordable, measured

    found = findings_of(out)
    limits = LinkLimits(bandwidth_hz, deadline_ms, snr_db, users)
    return affordable(found.study, measured(found), found.tables.layout, limits)


def allocate(
    out: Path | str,
    bandwidth_hz: float,
    deadline_ms: float,
    users_snr_db: Sequence[float],
    by: Policy = "accuracy",
    *,
    method: str | None = None,
    air: str | None = None,
) -> pd.DataFrame:
    """Resource blocks and token lengths for users who share a band at SNRs of their own.

    Args:
        out: Folder or URI of the study, whose accuracies and costs are those to choose from.
        bandwidth_hz: Bandwidth of all users together.
        deadline_ms: Longest latency of a question.
        users_snr_db: SNR of each user at the receiver.
        by: How the resource blocks are shared: ``equal``, ``proportional``, ``accuracy`` or
            ``max-min``, see :func:`studies.tables.allocation.allocate`.
        method: Label of the method; by default each user has the most accurate one.
        air: Label of the air; by default the study's only one.

    Returns:
        A row for each user, see :func:`studies.tables.allocation.allocate`.

    Raises:
        ValueError: for a study without a finished cell, with emulated users or with the power mode
            ``fixed_power``; for a method, air or SNR that it does not have; or if some user cannot
            be served.
    """
    from .execution.finished import findings_of
    from .tables.affordable import measured
    from .tables.allocation import SharedBand, candidates
    from .tables.allocation import allocate as allocate_blocks

    found = findings_of(out)
    layout = found.tables.layout
    band = SharedBand(bandwidth_hz, deadline_ms, tuple(users_snr_db), by)
    rows = candidates(measured(found), layout, method, air)
    return allocate_blocks(found.study, rows, layout, band)


def _loaded(study: Study | Path | str) -> Study:
    from .plan.loading import load

    return load(study) if isinstance(study, str | Path) else study


def __getattr__(name: str) -> Any:
    """Imports public names on first use: torch, Ray and Sionna take seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    homes = {"pareto": "tables.frontier", "curve": "tables.lines"}
    return getattr(import_module(f".{homes.get(name, 'plan.loading')}", __name__), name)
