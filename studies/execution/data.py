"""The data of a study: generated if it asks for a miniature data set, and checked."""

from __future__ import annotations

from pathlib import Path

from ..plan.cells import Plan
from ..plan.study import Study
from ..storage.folder import StudyFolder
from .progress import StudyProgress


def make_data(study: Study, folder: StudyFolder, progress: StudyProgress) -> None:
    """Generates what is missing of the study's own data set."""
    world = study.data.made
    if world is None:
        return
    root = folder.data(study)
    for name, count in world.parts.items():
        with progress.part(name, count) as part:
            part.failed = world.make(name, root, part.advance)


def check_data(plan: Plan, root: Path) -> None:
    """Lets every system check the data below ``root``, before anything is trained.

    Of the methods of a system, one with the most phases does it for all.

    Raises:
        ValueError: for data that a system cannot learn.
    """
    study = plan.study
    samples = {split: study.task.samples(root, split) for split in study.task.splits}
    longest = study.evaluation.max_answer_tokens
    systems = [contender.system for contender in plan.contenders]
    for name in dict.fromkeys(system.name for system in systems):
        own = [system for system in systems if system.name == name]
        most = max(own, key=lambda system: len(system.phases(study.task)))
        most.check_data(study.task, root, samples, longest)
