"""The graph of the specs that a study still has to run."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

from ..plan.artifact_spec import Spec


@dataclass(frozen=True)
class Milestone:
    """Specs that become known once others are done, such as cells once a learning rate is chosen.

    Attributes:
        after: Specs that must be done first; if one of them fails, the study stops.
        then: Returns the specs that are known then, or further milestones.
        due: Whether what it waits for besides specs has happened.
        despite_failures: Whether it is also reached if some of the specs have failed.
    """

    after: Sequence[Spec]
    then: Callable[[], Iterable[Spec | Milestone]]
    due: Callable[[], bool] = lambda: True
    despite_failures: bool = False


class State(Enum):
    """State of a spec."""

    WAITING = auto()
    RUNNING = auto()
    DONE = auto()
    FAILED = auto()


@dataclass
class _Node:
    """A spec in the graph.

    Attributes:
        key: Key of the spec.
        number: Number of specs that were known before it.
        inputs: Inputs of the spec that still have to be made.
        outputs: Specs that need it directly.
        urgent: Whether a milestone waits for it.
        dependents: Number of specs that need it, directly or not.
    """

    spec: Spec
    key: str
    number: int
    inputs: tuple[_Node, ...]
    outputs: list[_Node] = field(default_factory=list)
    state: State = State.WAITING
    urgent: bool = False
    dependents: int = 0

    @property
    def ready(self) -> bool:
        return self.state is State.WAITING and all(i.state is State.DONE for i in self.inputs)

    @property
    def rank(self) -> tuple[bool, int, int]:
        """Place in the order in which ready specs begin, the lowest first; it never rises."""
        return not self.urgent, -self.dependents, self.number

    def ancestors(self) -> dict[str, _Node]:
        """All nodes that it depends on, directly or not."""
        found: dict[str, _Node] = {}
        for node in self.inputs:
            found |= {node.key: node, **node.ancestors()}
        return found


class SpecGraph:
    """The specs that a study still has to run, and the specs whose artifacts each of them needs.

    The graph grows: a milestone that is reached adds specs. Specs that depend on a failed one fail
    for the same reason.

    Args:
        is_done: Whether a spec's artifact, or a cell's table, exists already.
        first: First milestone, whose specs the graph begins with.
    """

    def __init__(self, is_done: Callable[[Spec], bool], first: Milestone) -> None:
        self._is_done = is_done
        self._milestones: list[Milestone] = []
        self._nodes: dict[str, _Node] = {}
        self._ready: list[tuple[tuple[bool, int, int], str]] = []
        self._counts: dict[str, Counter[State]] = {}
        self._running: dict[str, Spec] = {}
        self._there: set[str] = set()
        self.failures: dict[str, str] = {}
        self._await(first)

    @property
    def counts(self) -> Mapping[str, Counter[State]]:
        """Number of specs in each state, by kind, in a stable order."""
        return self._counts

    @property
    def grows(self) -> bool:
        """Whether more specs will become known."""
        return bool(self._milestones) and self.stopped_by is None

    @property
    def running(self) -> Mapping[str, Spec]:
        """The specs that are running, by key."""
        return self._running

    @property
    def expects_more(self) -> bool:
        """Whether more specs will begin."""
        waiting = any(count[State.WAITING] for count in self._counts.values())
        return self.grows or (waiting and self.stopped_by is None)

    @property
    def stopped_by(self) -> Spec | None:
        """A failed spec that a milestone waits for, if there is one."""
        strict = (m for m in self._milestones if not m.despite_failures)
        awaited = (spec for milestone in strict for spec in milestone.after)
        return next((spec for spec in awaited if spec.key in self.failures), None)

    def grow(self) -> None:
        """Adds the specs of the milestones that have been reached."""
        while reached := next((m for m in self._milestones if self._reached(m)), None):
            self._milestones.remove(reached)
            for known in reached.then():
                if isinstance(known, Milestone):
                    self._await(known)
                else:
                    self._add(known)

    def take(self) -> Spec | None:
        """Begins the ready spec with most dependents, the earliest known of equals.

        Specs that a milestone waits for come first. None if no spec is ready.
        """
        if self.stopped_by is not None:
            return None
        while self._ready:
            node = self._nodes[heapq.heappop(self._ready)[1]]
            if node.ready:  # neither taken at an earlier rank nor failed
                self._move(node, State.RUNNING)
                return node.spec
        return None

    def succeed(self, key: str) -> None:
        """Marks a running spec as done."""
        node = self._nodes[key]
        self._move(node, State.DONE)
        for output in node.outputs:
            self._offer(output)

    def fail(self, key: str, reason: str) -> None:
        """Marks a spec, and all specs that depend on it, as failed."""
        node = self._nodes[key]
        self._move(node, State.FAILED)
        self.failures[key] = reason
        for output in node.outputs:
            if output.state is State.WAITING:
                self.fail(output.key, reason)

    def blocked(self, spec: Spec) -> str | None:
        """Reason why a spec, in the graph or not, cannot run; None if it can."""
        keys = (s.key for s in (spec, *spec.inputs))
        return next((self.failures[key] for key in keys if key in self.failures), None)

    def _await(self, milestone: Milestone) -> None:
        self._milestones.append(milestone)
        for spec in milestone.after:
            if (node := self._add(spec)) is not None:
                for needed in (node, *node.ancestors().values()):
                    needed.urgent = True
                    self._offer(needed)

    def _reached(self, milestone: Milestone) -> bool:
        nodes = (self._nodes.get(spec.key) for spec in milestone.after)
        ended = {State.DONE, *([State.FAILED] if milestone.despite_failures else [])}
        return milestone.due() and all(n is None or n.state in ended for n in nodes)

    def _add(self, spec: Spec) -> _Node | None:
        """Adds a spec and the inputs that it still needs; None if it is done already."""
        key = spec.key
        if key in self._nodes:
            return self._nodes[key]
        if key in self._there or self._is_done(spec):
            self._there.add(key)
            return None
        inputs = [node for i in spec.inputs if (node := self._add(i)) is not None]
        node = self._nodes[key] = _Node(spec, key, len(self._nodes), tuple(inputs))
        self._counts.setdefault(spec.kind, Counter())[node.state] += 1
        for needed in inputs:
            needed.outputs.append(node)
        for before in node.ancestors().values():
            before.dependents += 1
            self._offer(before)
        reason = next((self.failures[i.key] for i in inputs if i.state is State.FAILED), None)
        if reason is not None:
            self.fail(key, reason)
        self._offer(node)
        return node

    def _offer(self, node: _Node) -> None:
        """Lets a spec begin if it is ready, at its present rank."""
        if node.ready:
            heapq.heappush(self._ready, (node.rank, node.key))

    def _move(self, node: _Node, state: State) -> None:
        """Changes the state of a spec."""
        count = self._counts[node.spec.kind]
        count[node.state] -= 1
        count[state] += 1
        node.state = state
        if state is State.RUNNING:
            self._running[node.key] = node.spec
        else:
            self._running.pop(node.key, None)
