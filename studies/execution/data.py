"""The data of a study: generated if it asks for a miniature data set, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

from ..plan.cells import Plan
from ..plan.study import Study
from ..plan.workload import DATA, data_workload
from ..storage.folder import StudyFolder
from .measuring import measured
from .progress import Part, StudyProgress


@contextmanager
def preparing_data(
    plan: Plan, folder: StudyFolder, progress: StudyProgress
) -> Iterator[Future[None]]:
    """Makes and checks the data in a thread, so that Ray's workers start meanwhile.

    The future ends when the data are ready, or with the error. Leaving the block stops the thread
    after the files that it is making.

    Raises:
        ValueError: at once, if a system cannot learn the user's own data.
    """
    left = Event()

    def prepare() -> None:
        _make_data(plan.study, folder, progress, left)
        check_data(plan, folder.data(plan.study))

    with ThreadPoolExecutor(1) as thread:
        ready = thread.submit(prepare)
        try:
            if plan.study.data.made is None:
                ready.result()
            yield ready
        finally:
            left.set()


def _make_data(study: Study, folder: StudyFolder, progress: StudyProgress, stop: Event) -> None:
    """Generates what is missing of the study's own data set."""
    world, work = study.data.made, data_workload(study)
    if world is None or work is None:
        return
    root = folder.data(study)
    with measured(work, folder, DATA, [root], whole=not root.exists()):
        for name, count in world.parts.items():
            with progress.part(name, count) as part:
                part.failed = world.make(name, root, partial(_advance, part, stop))


def _advance(part: Part, stop: Event, files: int) -> None:
    if stop.is_set():
        raise CancelledError
    part.advance(files)


def check_data(plan: Plan, root: Path) -> None:
    """Lets every system check the data below ``root``, before anything is trained.

    Of the methods with the same system, one with the most phases does it for all.

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
