"""What a study has finished: its findings, and the learning rates that follow from them."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import pandas as pd

from ..plan.artifact_spec import Spec
from ..plan.cells import Plan
from ..plan.growth import outgrown
from ..plan.specs import Cell, PhaseSpec, ValidationSpec
from ..storage.artifacts import VALIDATION
from ..storage.folder import StudyFolder
from ..tables.files import Tables
from ..tables.findings import Findings
from ..tables.layout import layout_of
from ..tables.references import with_references

logger = logging.getLogger(__name__)


def findings_of(out: str | Path) -> Findings:
    """What a study has found so far.

    Args:
        out: Folder or URI of the study.

    Raises:
        ValueError: if there is no study in ``out``, or it has no finished cell.
    """
    folder = StudyFolder(out)
    study = folder.open()
    results = rows_of(Plan(study, has_run=True), folder)
    if results.empty:
        raise ValueError(f"the study in {out} has no finished cell; 'tokcom study resume' goes on")
    return Findings(study, Tables(folder, layout_of(study)), results)


def forget_failures(out: str | Path) -> int:
    """Removes the rows of failed cells, so that a resume runs them again; returns their number.

    Raises:
        ValueError: if there is no study in ``out``, it cannot go on (see
            :meth:`StudyFolder.check`), or a run is at work there.
    """
    folder = StudyFolder(out)
    folder.check(folder.open())
    with folder.alone():
        kept = map(Path, folder.store.names(folder.results))
        names = [name for name in kept if name.match("cell-*.parquet")]
        failed = [name for name in names if folder.has_failed(name.stem)]
        for name in failed:
            folder.store.remove(folder.results / name)
    return len(failed)


def left_to_run(folder: StudyFolder, specs: Sequence[Spec], cells: Sequence[Cell]) -> list[Spec]:
    """Those of a study's specs that its folder lacks; trainings only if something lacks them.

    Args:
        folder: Folder of the study, or of none yet.
        specs: All specs of the study.
        cells: Its cells; one that shares its evaluation with a finished one only copies tables.
    """
    tables = {Path(name).stem for name in folder.store.names(folder.results)}
    there = tables | set(folder.store.names(folder.artifacts.root))
    evaluated = {cell.evaluation for cell in cells if cell.key in tables}
    lacking: set[str] = set()

    def need(spec: Spec) -> None:
        known = spec.evaluation in evaluated if isinstance(spec, Cell) else spec.key in there
        if not known and spec.key not in lacking:
            lacking.add(spec.key)
            for needed in spec.inputs:
                need(needed)

    for spec in specs:
        if not isinstance(spec, PhaseSpec):
            need(spec)
    return [spec for spec in specs if spec.key in lacking]


def rows_of(plan: Plan, folder: StudyFolder) -> pd.DataFrame:
    """The rows of finished cells, with the references' accuracies in all of them."""
    return with_references(_read(plan, folder), layout_of(plan.study))


def update_rows(plan: Plan, folder: StudyFolder) -> pd.DataFrame:
    """Writes the references' accuracies into the rows of all finished cells; returns the rows."""
    return Tables(folder, layout_of(plan.study)).update_references(_read(plan, folder))


def remove_outgrown(plan: Plan, folder: StudyFolder, results: pd.DataFrame) -> None:
    """Removes the tables of cells that others have replaced since the study grew.

    What growth does not explain stays: results of other settings, or of another version of tokcom.

    Args:
        plan: Plan of the study.
        folder: Its folder.
        results: Rows of its cells; those that have failed replace none.
    """
    measured = set(results.loc[results["status"] != "failed", "cell"])
    strangers = Tables(folder, layout_of(plan.study)).read_other_configs(_cells(plan, folder))
    kept = {Path(name).stem for name in folder.store.names(folder.results)}
    folder.keep_cells(kept - outgrown(plan, strangers, measured))


def _read(plan: Plan, folder: StudyFolder) -> pd.DataFrame:
    """The rows of finished, failed and infeasible cells, as they are written.

    Warns of files that belong to no cell of the study, neither now nor before it grew.
    """
    cells = _cells(plan, folder)
    tables = Tables(folder, layout_of(plan.study))
    if strangers := tables.read_other_configs(cells):
        unknown = len(strangers.keys() - outgrown(plan, strangers))
        if unknown:
            logger.warning(
                "%s/results: %d of %d files belong to no cell of this study (other settings, or "
                "another version of tokcom)",
                folder.store,
                unknown,
                len(folder.store.names(folder.results)),
            )
    return tables.read_results(cells)


def _cells(plan: Plan, folder: StudyFolder) -> list[Cell]:
    """The cells of the study whose learning rates are known, and the infeasible ones."""
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    return [*cells, *(found.cell for found in plan.infeasible())]


def choose_learning_rates(plan: Plan, folder: StudyFolder) -> dict[str, float]:
    """The learning rate with the lowest mean validation loss, for each method that has a choice.

    The loss decides, not the accuracy: on a few hundred questions it is far less noisy. A rate with
    which some seed diverged is the worst. Methods with candidates that are not validated yet are
    left out.
    """
    chosen: dict[str, float] = {}
    for method, specs in plan.candidates().items():
        if not all(folder.has(spec) for spec in specs):
            continue
        losses: dict[float, list[float]] = {}
        for spec in specs:
            rate = spec.trained.definition.training.learning_rate
            losses.setdefault(rate, []).append(_validation_loss(folder, spec))
        chosen[method] = min(sorted(losses), key=lambda rate: _mean(losses[rate]))
    return chosen


def _mean(losses: list[float]) -> float:
    return fmean(losses) if all(map(math.isfinite, losses)) else math.inf


def _validation_loss(folder: StudyFolder, spec: ValidationSpec) -> float:
    file = folder.artifacts.path(spec) / VALIDATION
    return float(json.loads(file.read_text())["loss"])
