"""Progress of a running study on the console."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table

from actors import Emulation, EmulationState

from .graph import SpecGraph, State

KIND_NAMES = {
    "features": "frozen tokens",
    "validation": "learning rates",
    "cell": "evaluation",
}
"""Names of kinds of specs; other kinds are named as they are."""


@dataclass
class Part:
    """Callbacks of a running part of a study.

    Attributes:
        advance: Called with the number of steps that have just ended.
        failed: Number of steps that have failed.
    """

    advance: Callable[[int], None]
    failed: int = 0


class StudyProgress(Progress):
    """A bar for each part of a study, and the figures of a running emulation.

    Without a terminal (a pipe, a file) each part is one line when it ends.

    Args:
        console: Console to draw on; None shows nothing.
    """

    def __init__(self, console: Console | None) -> None:
        draws = console is not None and console.is_terminal and not console.is_dumb_terminal
        self._lines = None if draws else console
        self._figures: Table | None = None
        self._emulation: tuple[Emulation, TaskID] | None = None
        super().__init__(
            TextColumn("{task.description:<32}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            Elapsed(),
            console=console,
            disable=not draws,
        )

    @contextmanager
    def part(self, name: str, total: int) -> Iterator[Part]:
        """A part of ``total`` steps, which ends with the block."""
        task = self.add_task(name, total=total)
        part = Part(lambda steps: self.advance(task, steps))
        yield part
        self.end(task, part.failed)

    def end(self, task: TaskID, failed: int = 0) -> None:
        """Ends a task, ``failed`` of whose steps have failed."""
        ended = self._tasks[task]
        if self._lines is not None:
            done = f"{ended.completed - failed:.0f} of {ended.total:.0f}"
            line = f"{ended.description}: {done} in {duration_text(ended.elapsed or 0.0)}"
            note = f", {failed} failed" if failed else ""
            self._lines.print(line + note, highlight=False, soft_wrap=True)  # this flushes

    def watch(self, emulation: Emulation, state: EmulationState) -> None:
        """Shows the state of an emulation after a batch."""
        if self._emulation is None or self._emulation[0] is not emulation:
            task = self.add_task("emulation: questions", total=len(emulation.traffic))
            self._emulation = emulation, task
        self._figures = _figures(emulation, state)
        settled = state.answered + state.given_up
        self.update(self._emulation[1], completed=settled)
        if settled == len(emulation.traffic):
            self.end(self._emulation[1])

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._figures is not None:
            yield self._figures


class SpecProgress:
    """Shows the progress of the specs of a graph: a bar for each kind.

    Args:
        progress: Bars of the study.
    """

    def __init__(self, progress: StudyProgress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._ended: set[str] = set()
        self._part: dict[str, float] = {}

    def moved(self, key: str, part: float) -> None:
        """Sets the fraction of a running spec that is done."""
        self._part[key] = part

    def show(self, graph: SpecGraph) -> None:
        """Updates every bar; a kind ends when no more specs of it can become known."""
        parts: dict[str, float] = defaultdict(float)
        for key, spec in graph.running.items():
            parts[spec.kind] += self._part.get(key, 0.0)
        for kind, count in graph.counts.items():
            if kind in self._ended:
                continue
            ended, total = count[State.DONE] + count[State.FAILED], count.total()
            if not ended and not count[State.RUNNING]:
                continue  # its time begins with its first spec
            task = self._task(kind)
            self._progress.update(task, total=total, completed=ended + parts[kind])
            if ended == total and not graph.grows:
                self._ended.add(kind)
                self._progress.end(task, count[State.FAILED])

    def _task(self, kind: str) -> TaskID:
        if kind not in self._tasks:
            self._tasks[kind] = self._progress.add_task(KIND_NAMES.get(kind, kind))
        return self._tasks[kind]


def duration_text(seconds: float) -> str:
    """``4.2 s``, ``1 min 12 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(whole, 60)
    hours, rest_min = divmod(minutes, 60)
    if hours:
        return f"{hours} h {rest_min} min"
    return f"{minutes} min {rest_s} s" if minutes else f"{whole} s"


def _figures(emulation: Emulation, state: EmulationState) -> Table:
    shown = Table.grid(padding=(0, 2))
    score = state.score / state.answered if state.answered else 0.0
    for name, value in (
        ("time on the air", f"{state.now_s:.3f} s"),
        ("users served", f"{len(emulation.served)} of {emulation.users}"),
        ("answered", f"{state.answered}, with a mean score of {score:.3f}"),
        ("given up", str(state.given_up)),
        ("users' queue", str(len(state.waiting))),
        ("base station's queue", str(state.planned)),
        ("energy of all devices", f"{state.energy_mj:.1f} mJ"),
        ("processes restarted", str(emulation.restarted)),
    ):
        shown.add_row(name, value)
    return shown
