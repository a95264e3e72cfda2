"""What is seen of a study while it runs: bars on a terminal, lines in a file or pipe."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console

from studies.execution.graph import Milestone, SpecGraph
from studies.execution.progress import SpecProgress, StudyProgress, duration_text
from studies.plan.artifact_spec import Spec


class _Flushed(io.StringIO):
    """Tells what a reader at the other end of a pipe has got."""

    arrived = ""

    def flush(self) -> None:
        super().flush()
        self.arrived = self.getvalue()


def test_without_a_terminal_a_finished_stage_is_a_line_at_once() -> None:
    pipe = _Flushed()
    with StudyProgress(Console(file=pipe, width=80)) as progress:
        with progress.part("alignment", 3) as stage:
            for _ in range(3):
                stage.advance(1)
            assert pipe.arrived == ""
        assert pipe.arrived.startswith("alignment: 3 of 3 in 0.")
        with progress.part("evaluation", 8) as stage:
            stage.advance(8)
            stage.failed = 2
        second = pipe.arrived.splitlines()[1]
        assert second.startswith("evaluation: 6 of 8 in 0.") and second.endswith(" s, 2 failed")
    assert len(pipe.getvalue().splitlines()) == 2


def test_a_stage_that_broke_off_has_not_ended() -> None:
    pipe = _Flushed()
    with (
        pytest.raises(KeyboardInterrupt),
        StudyProgress(Console(file=pipe)) as progress,
        progress.part("alignment", 3),
    ):
        raise KeyboardInterrupt
    assert pipe.getvalue() == ""


def test_an_emulation_is_a_line_when_all_questions_are_settled() -> None:
    pipe = _Flushed()
    emulation = SimpleNamespace(traffic=range(5), served={1}, users=9, restarted=0)
    with StudyProgress(Console(file=pipe)) as progress:
        for answered, given_up in ((2, 0), (4, 1)):
            moment = SimpleNamespace(
                answered=answered, given_up=given_up, score=1.0, now_s=0.1, waiting=(), planned=2,
                energy_mj=1.0,
            )  # fmt: skip
            progress.watch(cast(Any, emulation), cast(Any, moment))
            assert bool(pipe.arrived) == (answered + given_up == 5)
    assert pipe.getvalue().startswith("emulation: questions: 5 of 5 in 0.")


class AlignmentSpec(Spec):
    number: int


class Cell(Spec):
    needs: AlignmentSpec

    @property
    def inputs(self) -> tuple[Spec, ...]:
        return (self.needs,)


def test_a_kind_of_specs_is_a_line_when_no_more_of_it_can_become_known() -> None:
    pipe = _Flushed()
    alignments = [AlignmentSpec(number=i) for i in range(3)]
    first, *later = [Cell(needs=spec) for spec in alignments]
    graph = SpecGraph(lambda _: False, Milestone([first], lambda: later))
    with StudyProgress(Console(file=pipe, width=80)) as bars:
        progress = SpecProgress(bars)
        for reason in ("", "", "no clip", "", ""):
            graph.grow()
            spec = graph.take()
            progress.show(graph)
            if spec is None:
                break
            if reason:
                graph.fail(spec.key, reason)
            else:
                graph.succeed(spec.key)
            progress.show(graph)
    shown = [line.partition(" in ")[0] for line in pipe.arrived.splitlines()]
    assert shown == ["alignment: 2 of 3", "evaluation: 2 of 3"]
    assert pipe.arrived.count(", 1 failed") == 2


def test_a_bar_moves_inside_a_spec() -> None:
    (spec,) = [AlignmentSpec(number=0)]
    graph = SpecGraph(lambda _: False, Milestone([spec], list))
    with StudyProgress(None) as bars:
        progress = SpecProgress(bars)
        graph.take()
        progress.moved(spec.key, 0.25)
        progress.show(graph)
        (task,) = bars.tasks
        assert (task.completed, task.total) == (0.25, 1)


def test_a_terminal_has_bars() -> None:
    screen = io.StringIO()
    terminal = Console(file=screen, force_terminal=True, _environ={"TERM": "xterm"}, width=80)
    with StudyProgress(terminal) as progress, progress.part("alignment", 3) as stage:
        stage.advance(3)
    assert "3/3" in screen.getvalue()
    assert "3 of 3" not in screen.getvalue()


def test_nothing_is_shown_to_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    with StudyProgress(None) as progress, progress.part("alignment", 3) as stage:
        stage.advance(3)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.4, "9.4 s"), (9.6, "10 s"), (59.6, "1 min 0 s"), (72, "1 min 12 s"),
     (7500, "2 h 5 min")],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
