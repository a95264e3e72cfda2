"""Phases and cells of a study, or all of it, run in this process, without Ray."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from studies.execution.finished import choose_learning_rates, update_rows
from studies.execution.runner import SpecRunner
from studies.execution.splits import uploads_files, write_file_bits, write_samples
from studies.plan.artifact_spec import Spec
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder


def encoded(study: Study, out: Path) -> tuple[SpecRunner, StudyFolder]:
    """The runner of a study in the folder ``out``, its clips encoded."""
    folder = StudyFolder(out)
    folder.begin(study)
    features = Plan(study).features()
    runner = SpecRunner(study, folder, features)
    for spec in features:
        _make(spec, runner, folder)
    write_samples(folder, study, features)
    return runner, folder


def run_here(study: Study, out: Path, data: Path | None = None) -> pd.DataFrame:
    """Runs a whole study, as ``run_study`` does; returns its results.

    Args:
        study: The study.
        out: Its folder.
        data: The study's own world, where that is made already.
    """
    if data is not None:
        out.mkdir()
        (out / "data").symlink_to(data)
    runner, folder = encoded(study, out)
    if uploads_files(study):
        write_file_bits(folder, study)
    plan = Plan(study)
    for specs in plan.candidates().values():
        for spec in specs:
            _make(spec, runner, folder)
    cells = plan.known_cells(choose_learning_rates(plan, folder))
    for cell in cells:
        if cell.emulate is None:
            _make(cell, runner, folder)
        else:
            _make(cell.trained, runner, folder)
            runner.emulate(cell)
    return update_rows(plan, folder)


def _make(spec: Spec, runner: SpecRunner, folder: StudyFolder) -> None:
    for needed in spec.inputs:
        _make(needed, runner, folder)
    if not folder.has(spec):
        runner.run(spec)
