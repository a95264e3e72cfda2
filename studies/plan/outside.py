"""Checks of a system from outside the package: its streams, phases, splits and names."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any, NoReturn, TypeVar

from tokcom_core.errors import in_one_line
from tokcom_core.features import Features
from tokcom_core.systems import (
    SYSTEMS,
    Phase,
    Stream,
    StreamInput,
    System,
    TokenLengths,
    Training,
    devices_of,
)
from tokcom_core.tasks import Task

T = TypeVar("T")


def check_outside(system: System, task: Task, tokens: TokenLengths) -> None:
    """Raises ValueError, in one line, for what a system from outside the package gives wrongly.

    Systems of the package have tests instead.
    """
    if type(system) in SYSTEMS.values():
        return
    answers = _Answers(system)
    streams = answers.given("streams", Stream, lambda: system.streams(task, tokens))
    names = answers.unique("streams", [stream.name for stream in streams])
    for stream in streams:
        if (count := stream.symbols_per_token) < 1:
            answers.refuse(
                "streams", f"has symbols_per_token {count} of {stream.name!r}; take 1 or more"
            )
    served = answers.given("served", str, lambda: system.served(task))
    answers.known("served", "stream", served, names)
    phases = answers.given("phases", Phase, lambda: system.phases(task))
    answers.unique("phases", [phase.name for phase in phases])
    for phase in phases:
        _check_phase(answers, phase, names, task)
    for device in devices_of(streams):
        answers.features(partial(system.features, task, device, tokens))


def _check_phase(answers: _Answers, phase: Phase, streams: Collection[str], task: Task) -> None:
    inputs = answers.listed("phases", f"inputs of {phase.name!r}", StreamInput, phase.inputs)
    answers.listed("phases", f"losses of {phase.name!r}", str, phase.losses)
    named = [sent.stream for sent in inputs]
    answers.known("phases", "stream", (*named, *phase.dropped, *phase.aligned), streams)
    answers.known("phases", "split", [sent.split for sent in inputs], task.splits)
    if not isinstance(phase.training, Training) or phase.batch_size < 1:
        answers.refuse(
            "phases", f"needs a Training and a batch_size of 1 or more in {phase.name!r}"
        )


class _Answers:
    """Calls the methods of a system, and checks what they return.

    Args:
        system: System from outside the package.
    """

    def __init__(self, system: System) -> None:
        self._class = type(system)

    def given(self, method: str, kind: type[T], call: Callable[[], Any]) -> tuple[T, ...]:
        """What a method returns: one or more objects of a class."""
        with in_one_line(self._class, f"{method}()"):
            answer = call()
        return self.listed(method, "", kind, answer)

    def listed(self, method: str, part: str, kind: type[T], answer: Any) -> tuple[T, ...]:
        """One or more objects of a class, in a tuple or list; ``part`` says which, in messages."""
        proper = isinstance(answer, tuple | list) and all(isinstance(one, kind) for one in answer)
        if not proper or not answer:
            name = "names" if kind is str else kind.__name__
            wanted = f"a tuple of {name}{f' as {part}' if part else ''}"
            self.refuse(method, f"should give {wanted}, gave {reprlib.repr(answer)}")
        return tuple(answer)

    def unique(self, method: str, names: list[str]) -> list[str]:
        """The names; refuses repeated ones."""
        for i, name in enumerate(names):
            if name in names[:i]:
                self.refuse(method, f"has the name {name!r} twice; give one another")
        return names

    def known(self, method: str, kind: str, names: Iterable[str], allowed: Collection[str]) -> None:
        """Refuses names that do not belong to the allowed ones."""
        for name in names:
            if name not in allowed:
                some = ", ".join(allowed)
                self.refuse(method, f"names an unknown {kind} {name!r}; take some of {some}")

    def features(self, call: Callable[[], Any]) -> None:
        """Refuses what is no dict of features by name."""
        with in_one_line(self._class, "features()"):
            answer = call()
        if not isinstance(answer, dict):
            self.refuse("features", f"should give a dict, gave {reprlib.repr(answer)}")
        for name, features in answer.items():
            self.listed("features", f"{name!r}", Features, features)

    def refuse(self, method: str, fault: str) -> NoReturn:
        """Raises ValueError about what a method returns."""
        raise ValueError(f"{self._class.__name__}.{method}() {fault}")
