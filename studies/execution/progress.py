"""What one sees of a study while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table

from actors import Emulation, EmulationState


@dataclass
class Stage:
    """What is told of a stage that is running.

    Attributes:
        advance: called with the number of steps just ended.
        failed: how many of them have failed.
    """

    advance: Callable[[int], None]
    failed: int = 0


class StudyProgress(Progress):
    """A bar for each stage, and the figures of the emulation that is running.

    Without a terminal (a pipe, a file) nothing can be drawn over: a stage is a line when it ends.

    Args:
        console: where to show it; None shows nothing.
    """

    def __init__(self, console: Console | None) -> None:
        draws = console is not None and console.is_terminal and not console.is_dumb_terminal
        self._lines = None if draws else console
        self._figures: Table | None = None
        self._emulation: tuple[Emulation, TaskID] | None = None
        super().__init__(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            Elapsed(),
            console=console,
            disable=not draws,
        )

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Stage]:
        """A stage of so many steps, which has ended when the block has."""
        task = self.add_task(name, total=total)
        stage = Stage(lambda steps: self.advance(task, steps))
        yield stage
        self._end(task, stage.failed)

    def _end(self, task: TaskID, failed: int = 0) -> None:
        ended = self._tasks[task]
        if self._lines is not None:
            done = f"{ended.completed - failed:.0f} of {ended.total:.0f}"
            line = f"{ended.description}: {done} in {duration_text(ended.elapsed or 0.0)}"
            note = f", {failed} failed" if failed else ""
            self._lines.print(line + note, highlight=False, soft_wrap=True)  # this flushes

    def watch(self, emulation: Emulation, moment: EmulationState) -> None:
        """Shows where an emulation stands after a batch."""
        if self._emulation is None or self._emulation[0] is not emulation:
            task = self.add_task("emulation: questions", total=len(emulation.traffic))
            self._emulation = emulation, task
        self._figures = _figures(emulation, moment)
        settled = moment.answered + moment.given_up
        self.update(self._emulation[1], completed=settled)
        if settled == len(emulation.traffic):
            self._end(self._emulation[1])

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._figures is not None:
            yield self._figures


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


def _figures(emulation: Emulation, moment: EmulationState) -> Table:
    shown = Table.grid(padding=(0, 2))
    accuracy = moment.exact / moment.answered if moment.answered else 0.0
    for name, value in (
        ("time on the air", f"{moment.now_s:.3f} s"),
        ("users served", f"{len(emulation.served)} of {emulation.users}"),
        ("answered", f"{moment.answered}, {accuracy:.3f} of them exactly right"),
        ("given up", str(moment.given_up)),
        ("users' queue", str(len(moment.waiting))),
        ("base station's queue", str(moment.planned)),
        ("energy of all devices", f"{moment.energy_mj:.1f} mJ"),
        ("processes made anew", str(emulation.restarted)),
    ):
        shown.add_row(name, value)
    return shown
