"""Stages of a study run in this process, without Ray."""

from __future__ import annotations

from pathlib import Path

from studies.execution.splits import write_samples
from studies.execution.stages import Stages
from studies.plan.cells import Plan
from studies.plan.study import Study
from studies.storage.folder import StudyFolder


def encoded(study: Study, out: Path) -> tuple[Stages, StudyFolder]:
    """The stages of a study in the folder ``out``, its clips encoded."""
    folder = StudyFolder(out)
    folder.begin(study)
    features = Plan(study).features()
    stages = Stages(study, folder, features)
    for spec in features:
        stages.run(spec)
    write_samples(folder, study, features)
    return stages, folder
