"""What one sees of a study while it runs."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Table

from actors import Emulation, Moment


class StudyProgress(Progress):
    """A bar for each stage, and the figures of the emulation that is running.

    Args:
        console: where to draw; None draws nothing.
    """

    def __init__(self, console: Console | None) -> None:
        self._figures: Table | None = None
        self._emulation: tuple[Emulation, TaskID] | None = None
        super().__init__(
            TextColumn("{task.description:<32}"),
            BarColumn(),
            MofNCompleteColumn(),
            Elapsed(),
            console=console,
            disable=console is None,
        )

    def watch(self, emulation: Emulation, moment: Moment) -> None:
        """Shows where an emulation stands after a batch."""
        if self._emulation is None or self._emulation[0] is not emulation:
            task = self.add_task("emulation: questions", total=len(emulation.traffic))
            self._emulation = emulation, task
        self._figures = _figures(emulation, moment)
        self.update(self._emulation[1], completed=moment.answered + moment.given_up)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self._figures is not None:
            yield self._figures


def _figures(emulation: Emulation, moment: Moment) -> Table:
    shown = Table.grid(padding=(0, 2))
    accuracy = moment.exact / moment.answered if moment.answered else 0.0
    for name, value in (
        ("time on the air", f"{moment.now_s:.3f} s"),
        ("users served", f"{len(emulation.served)} of {emulation.users}"),
        ("answered", f"{moment.answered}, {accuracy:.3f} of them right"),
        ("given up", str(moment.given_up)),
        ("users' queue", str(len(moment.waiting))),
        ("base station's queue", str(moment.planned)),
        ("energy of all devices", f"{moment.energy_mj:.1f} mJ"),
        ("processes made anew", str(emulation.revived)),
    ):
        shown.add_row(name, value)
    return shown
