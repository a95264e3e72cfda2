"""The data of a study: generated if it asks for a miniature data set, and checked."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Event

from tokcom_core.errors import in_one_line
from tokcom_core.systems import System

from ..plan.cells import Plan
from ..plan.study import Study
from ..plan.workload import DATA, data_workload
from ..storage.folder import StudyFolder
from .measuring import recording_usage
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
    with recording_usage(work, folder, DATA, [root], whole=not root.exists()):
        for name, count in world.parts.items():
            with progress.part(name, count) as part:
                part.failed = world.make(name, root, partial(_advance, part, stop))


def _advance(part: Part, stop: Event, files: int) -> None:
    if stop.is_set():
        raise CancelledError
    part.advance(files)


def check_data(plan: Plan, root: Path) -> None:
    """Lets the system of every method check the data below ``root``, before anything is trained.

    Methods whose systems check the same leave it to one of them, see :meth:`System.data_settings`.

    Raises:
        ValueError: for data that a system cannot learn.
    """
    study = plan.study
    samples = {split: study.task.samples(root, split) for split in study.task.splits}
    longest = study.evaluation.max_answer_tokens
    checking = _checking(plan)
    for label, system in checking.items():
        try:
            with in_one_line(type(system), "check_data()"):
                system.check_data(study.task, root, samples, longest)
        except ValueError as error:
            raise ValueError(f"method {label!r}: {error}" if len(checking) > 1 else error) from None


def _checking(plan: Plan) -> dict[str, System]:
    """Systems that check the data for all methods (if there are none, references), by label."""
    task = plan.study.task
    methods = [own for own in plan.contenders if own.reference is None] or plan.contenders
    found: dict[str, System] = {}
    settings = {own.label: own.system.data_settings(task) for own in methods}
    for own in sorted(methods, key=lambda own: len(settings[own.label]), reverse=True):
        same = (label for label, other in found.items() if type(other) is type(own.system))
        if not any(settings[own.label] <= settings[label] for label in same):
            found[own.label] = own.system
    return found
