"""What a data folder holds: the splits of a task, and which of their media can be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..config import validate_named
from ..datasets.parallel import run_parallel
from ..datasets.reading import check_readable
from ..datasets.samples import Samples
from ..errors import first_line
from .avqa import Avqa
from .base import Task
from .catalogue import INSTRUCTION_TASKS

_State = Literal["absent", "ready", "unprepared", "missing", "damaged"]
_Job = tuple[Task, Path, str, str]
_Key = tuple[str, str]


@dataclass(frozen=True)
class SplitCheck:
    """What a data folder holds of one split of a task.

    Attributes:
        task, split: Names of task and split.
        samples: Number of its samples.
        groups: Number of samples of each group.
        media: Number of the clips or images that the samples are about.
        unprepared: Recordings that ``tokcom data prepare`` has not extracted yet.
        missing: Files that are not there.
        damaged: Files that cannot be read, each with the reason.
        repeated_ids: Number of ids that several samples about the same media share.
        tested: Number of its clips or images that the test split is about as well.
        unreadable: Reason why its samples cannot be read; empty if they can.
    """

    task: str
    split: str
    samples: int = 0
    groups: Mapping[str, int] = field(default_factory=dict)
    media: int = 0
    unprepared: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    repeated_ids: int = 0
    tested: int = 0
    unreadable: str = ""

    @property
    def ready(self) -> int:
        """Number of its clips or images that can be encoded."""
        return self.media - len(self.unprepared) - len(self.missing) - len(self.damaged)

    @property
    def complete(self) -> bool:
        """Whether its samples can be read, and all their media encoded."""
        return not self.unreadable and self.ready == self.media


def tasks_in(root: Path) -> list[Task]:
    """The tasks, with default settings, that have some of their data in ``root``.

    Raises:
        ValueError: if there is no such folder or task.
    """
    if not root.is_dir():
        raise ValueError(f"no folder {root}; 'tokcom data minimusic {root}' makes one")
    others = (validate_named(name, Task, INSTRUCTION_TASKS) for name in INSTRUCTION_TASKS)
    known: list[Task] = [Avqa(), *others]
    tasks = [task for task in known if task.is_in(root)]
    if tasks:
        return tasks
    inside = [file for task in known for file in _annotations(task, root.parent)]
    if any(file.is_relative_to(root) and file.is_file() for file in inside):
        raise ValueError(f"{root} is a part of a data folder; give {root.parent}, which holds it")
    wanted = ", ".join(str(file.relative_to(root)) for file in _annotations(known[0], root))
    raise ValueError(
        f"no data in a published layout in {root}: neither {wanted}, nor the annotation files of "
        "another task (docs/tasks.md); 'tokcom data minimusic DIR --clips 12' writes an example"
    )


def _annotations(task: Task, root: Path) -> Sequence[Path]:
    try:
        return task.annotation_files(root)
    except ValueError:  # from a task that searches for its files
        return ()


def check_splits(
    task: Task, root: Path, read: bool = True, progress: Callable[[int], None] | None = None
) -> list[SplitCheck]:
    """Checks all splits of a task below the data folder ``root``.

    Args:
        task: Task that knows the files.
        root: Data folder.
        read: Whether to read every file of the media, or only to see whether it is there.
        progress: Called with the number of clips or images that have just been checked.
    """
    splits: dict[str, Samples | str] = {}
    for split in task.splits:
        try:
            splits[split] = task.rows(root, split)
        except (ValueError, OSError) as error:
            splits[split] = first_line(error)
    jobs: dict[_Key, _Job] = {}
    for split, samples in splits.items():
        for media_id in () if isinstance(samples, str) else samples.media_id:
            jobs.setdefault((task.dataset(split), media_id), (task, root, split, media_id))
    states = dict(zip(jobs, _states(list(jobs.values()), read, progress), strict=True))
    tested = splits[task.test_split]
    test = set() if isinstance(tested, str) else _media_of(task, task.test_split, tested)
    return [_summary(task, split, samples, states, test) for split, samples in splits.items()]


def _media_of(task: Task, split: str, samples: Samples) -> set[_Key]:
    return {(task.dataset(split), media_id) for media_id in samples.media_id}


def _states(
    jobs: Sequence[_Job], read: bool, progress: Callable[[int], None] | None
) -> Iterator[tuple[_State, str]]:
    states: Iterable[tuple[_State, str]] = (
        run_parallel(_read, jobs, workers=None) if read else map(_look, jobs)
    )
    for state in states:
        if progress is not None:
            progress(1)
        yield state


def _summary(
    task: Task,
    split: str,
    samples: Samples | str,
    states: Mapping[_Key, tuple[_State, str]],
    test: set[_Key],
) -> SplitCheck:
    if isinstance(samples, str):
        return SplitCheck(task.name, split, unreadable=samples)
    media = dict.fromkeys((task.dataset(split), media_id) for media_id in samples.media_id)
    by_state: dict[_State, list[str]] = {}
    for key in media:
        state, detail = states[key]
        by_state.setdefault(state, []).append(detail)
    return SplitCheck(
        task.name,
        split,
        len(samples),
        Counter(group for group in samples.group if group),
        len(media) - len(by_state.get("absent", ())),
        unprepared=tuple(by_state.get("unprepared", ())),
        missing=tuple(by_state.get("missing", ())),
        damaged=tuple(by_state.get("damaged", ())),
        repeated_ids=samples.repeated_ids,
        tested=0 if split == task.test_split else len(test.intersection(media)),
    )


def _look(job: _Job) -> tuple[_State, str]:
    """The state of a sample's media by which files exist, and the file that the state is about."""
    task, root, split, media_id = job
    wanted = [task.media_file(root, split, medium, media_id) for medium in task.media]
    files = [file for file in wanted if file is not None]
    if not files:
        return "absent", ""
    missing = [file for file in files if not file.exists()]
    if not missing:
        return "ready", ""
    recording = task.recording_file(root, split, media_id)
    if recording is not None and recording.is_file():
        return "unprepared", str(recording)
    everything = recording is not None and missing == files
    return "missing", str(recording if everything else missing[0])


def _read(job: _Job) -> tuple[_State, str]:
    """The same as :func:`_look`, but the files are read."""
    state, detail = _look(job)
    task, root, split, media_id = job
    files = {medium: task.media_file(root, split, medium, media_id) for medium in task.media}
    if state == "unprepared":
        files = {"": Path(detail)}
    if state in ("ready", "unprepared"):
        try:
            for medium, file in files.items():
                if file is not None:
                    check_readable(file, medium)
        except ValueError as error:
            return "damaged", first_line(error)
    return state, detail
