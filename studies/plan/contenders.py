"""The contenders of a study: its methods, and the references that its data allow."""

from __future__ import annotations

from dataclasses import dataclass

from tokcom_core.systems import System, Transport
from tokcom_core.tasks import Reference

from .study import Study


@dataclass(frozen=True)
class Contender:
    """A method or a reference of a study.

    Attributes:
        label: Name of the contender in tables.
        system: System with all learning rates to choose from.
        transport: Transport of its streams, see :func:`~tokcom_core.systems.transport_of`.
        reference: Reference of the task that it is (intact text, noiseless air); None for a method.
    """

    label: str
    system: System
    transport: dict[str, Transport]
    reference: Reference | None = None

    def at(self, learning_rate: float | None) -> System:
        """The system at a learning rate; None if there is no choice."""
        return self.system if learning_rate is None else self.system.at_learning_rate(learning_rate)


def contenders_of(study: Study) -> tuple[Contender, ...]:
    """The references, each of the first method's system that has it, then the methods."""
    methods = [Contender(m.label, study.system(m), m.transport) for m in study.methods]
    systems = [method.system for method in methods] or [study.systems.first]
    references = []
    for reference in study.task.references(study.data.folder):
        own = next(filter(None, (system.reference(reference) for system in systems)), None)
        if own is not None:
            references.append(Contender(reference.name, own, {}, reference))
    return (*references, *methods)
