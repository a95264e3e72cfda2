"""What a study does next: order, readiness, failures, and a graph that grows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from ray.tune.search import Searcher

from studies.execution.graph import Milestone, SpecGraph
from studies.execution.searcher import SpecSearcher, SpecStopper
from studies.plan.artifact_spec import Spec


class _Made(Spec):
    """A spec that needs others."""

    name: str
    needs: tuple[_Made, ...] = ()

    @property
    def inputs(self) -> tuple[Spec, ...]:
        return self.needs


class AlignmentSpec(_Made): ...


class Cell(_Made): ...


def _graph(
    *after: Spec, then: Iterable[Spec | Milestone] = (), done: Iterable[Spec] = ()
) -> SpecGraph:
    there = {spec.key for spec in done}
    return SpecGraph(lambda spec: spec.key in there, Milestone(after, lambda: then))


def _drain(graph: SpecGraph) -> list[str]:
    """The names of all specs, each done before the next is taken."""
    names = []
    graph.grow()
    while (spec := graph.take()) is not None:
        assert isinstance(spec, _Made)
        names.append(spec.name)
        graph.succeed(spec.key)
        graph.grow()
    return names


def test_what_unblocks_most_comes_first_and_equals_keep_their_order() -> None:
    few, many = AlignmentSpec(name="few"), AlignmentSpec(name="many")
    cells = [Cell(name=f"c{i}", needs=(few if i == 0 else many,)) for i in range(4)]
    graph = _graph(then=cells)
    assert _drain(graph) == ["many", "few", "c0", "c1", "c2", "c3"]
    assert not graph.expects_more


def test_nothing_begins_before_its_inputs_are_there() -> None:
    first = AlignmentSpec(name="first")
    second = AlignmentSpec(name="second", needs=(first,))
    graph = _graph(then=[Cell(name="cell", needs=(second,))])
    graph.grow()
    assert graph.take() == first
    assert graph.take() is None
    assert list(graph.running) == [first.key]
    graph.succeed(first.key)
    assert graph.take() == second


def test_what_is_there_is_not_made_again_nor_what_only_it_needs() -> None:
    first = AlignmentSpec(name="first")
    second = AlignmentSpec(name="second", needs=(first,))
    cell, other = Cell(name="cell", needs=(second,)), Cell(name="other", needs=(second,))
    assert _drain(_graph(then=[cell, other], done=[second, other])) == ["cell"]


def test_whatever_depends_on_a_failure_has_failed_for_its_reason() -> None:
    lost, fine = AlignmentSpec(name="lost"), AlignmentSpec(name="fine")
    tuned = AlignmentSpec(name="tuned", needs=(lost,))
    cells = [Cell(name="a", needs=(tuned,)), Cell(name="b", needs=(fine,))]
    late = Cell(name="late", needs=(tuned,))
    graph = _graph(then=[*cells, Milestone([fine], lambda: [late])])
    graph.grow()
    assert graph.take() == fine  # it is awaited
    assert graph.take() == lost
    graph.fail(lost.key, "no clip")
    assert graph.blocked(cells[0]) == graph.blocked(tuned) == "no clip"
    assert graph.blocked(Cell(name="elsewhere", needs=(tuned,))) == "no clip"
    assert graph.blocked(cells[1]) is None
    graph.succeed(fine.key)
    assert _drain(graph) == ["b"]
    assert graph.failures[late.key] == "no clip"
    assert not graph.expects_more
    assert graph.stopped_by is None


def test_cells_of_a_method_are_known_when_its_own_candidates_are_done() -> None:
    quick, slow = AlignmentSpec(name="quick"), AlignmentSpec(name="slow")
    graph = _graph(
        then=[
            Milestone([slow], lambda: [Cell(name="of slow")]),
            Milestone([quick], lambda: [Cell(name="of quick")]),
        ]
    )
    graph.grow()
    assert [graph.take(), graph.take(), graph.take()] == [slow, quick, None]
    graph.succeed(quick.key)
    graph.grow()
    cell = graph.take()
    assert isinstance(cell, Cell)
    assert cell.name == "of quick"
    assert graph.grows


def test_a_ready_spec_that_is_awaited_later_comes_first_and_once() -> None:
    early, late = AlignmentSpec(name="early"), AlignmentSpec(name="late")
    graph = _graph(
        then=[early, late, Milestone([late], lambda: [Cell(name="then", needs=(late,))])]
    )
    graph.grow()
    assert [graph.take(), graph.take(), graph.take()] == [late, early, None]
    graph.succeed(late.key)
    graph.grow()
    cell = graph.take()
    assert isinstance(cell, Cell)
    assert graph.take() is None
    assert set(graph.running) == {early.key, cell.key}


def test_a_failure_of_what_is_awaited_stops_the_study() -> None:
    tokens, other = AlignmentSpec(name="tokens"), AlignmentSpec(name="other")
    graph = _graph(tokens, other, then=[Cell(name="cell")])
    assert graph.take() == tokens
    graph.fail(tokens.key, "no clip")
    graph.grow()
    assert graph.stopped_by == tokens
    assert graph.take() is None
    assert not graph.expects_more


def test_a_milestone_may_be_reached_despite_failures() -> None:
    """Not before all that it waits for has ended."""
    tokens, other = AlignmentSpec(name="tokens"), AlignmentSpec(name="other")
    cell = Cell(name="cell")
    then = Milestone([tokens, other], lambda: [cell], despite_failures=True)
    graph = SpecGraph(lambda _: False, then)
    assert [graph.take(), graph.take()] == [tokens, other]
    graph.fail(tokens.key, "no clip")
    graph.grow()
    assert graph.take() is None
    assert graph.expects_more
    graph.succeed(other.key)
    graph.grow()
    assert graph.take() == cell
    assert graph.stopped_by is None


@pytest.fixture
def searcher() -> SpecSearcher:
    """Of a first spec, a second that waits for it, and room for three trials."""
    first = AlignmentSpec(name="first")
    second = AlignmentSpec(name="second", needs=(first,))
    return SpecSearcher(_graph(first, then=[second]), lambda: 3, lambda _: None)


def test_workers_without_a_spec_idle_until_one_is_ready(searcher: SpecSearcher) -> None:
    spec = searcher.suggest("1")
    assert isinstance(spec, dict)
    assert spec["type"] == "AlignmentSpec"
    assert [searcher.suggest(name) for name in "23"] == [{"key": "idle"}] * 2
    assert searcher.suggest("4") is None
    for name in "123":
        searcher.started(name)
    stopper = SpecStopper(searcher)
    assert not any(stopper(name, {}) for name in "123")
    searcher._graph.succeed(spec["key"])
    searcher.on_trial_complete("1", {})
    assert "spec" in searcher.suggest("5")  # type: ignore[operator]
    assert stopper("2", {})  # its worker is needed, and no more than one
    assert not stopper("5", {})
    searcher.on_trial_complete("2", {})
    searcher.started("5")
    assert searcher.suggest("6") == Searcher.FINISHED
    assert stopper("3", {})  # never again


def test_a_trial_that_lost_its_worker_gets_that_of_an_idle_one(searcher: SpecSearcher) -> None:
    searcher.suggest("1")
    searcher.suggest("2")
    for name in "12":
        searcher.started(name)
    assert not searcher.releases("2")
    searcher.recovering("1")
    assert searcher.releases("2")


def test_a_spec_that_reserves_something_else_gets_the_room_of_all_idle_trials() -> None:
    """Such as frozen tokens, which are made on one node: the room of another is of no use."""
    first = AlignmentSpec(name="first")
    pinned = Cell(name="pinned", needs=(first,))
    last = AlignmentSpec(name="last", needs=(pinned,))
    searcher = SpecSearcher(
        _graph(first, then=[pinned, last]), lambda: 3, lambda config: config.get("type") == "Cell"
    )
    spec = searcher.suggest("1")
    assert isinstance(spec, dict)
    for name in "23":
        assert searcher.suggest(name) == {"key": "idle"}
    for name in "123":
        searcher.started(name)
    assert not any(searcher.releases(name) for name in "23")
    searcher._graph.succeed(spec["key"])
    searcher.on_trial_complete("1", {})
    assert "spec" in searcher.suggest("4")  # type: ignore[operator]
    for name in "23":
        assert searcher.releases(name)
        searcher.on_trial_complete(name, {})
    assert searcher.suggest("5") is None  # it would take the room again
    searcher.started("4")
    assert searcher.suggest("6") == {"key": "idle"}
    searcher.started("6")
    assert not searcher.releases("6")
