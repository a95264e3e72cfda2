"""The contenders of a study, methods and the references that its data allow, and how they send."""

from __future__ import annotations

from dataclasses import dataclass

from channel_models import AirBase, DigitalConfig
from tokcom_core.systems import System, Transport, transport_of
from tokcom_core.tasks import Reference

from .study import Study


@dataclass(frozen=True)
class Contender:
    """A method or a reference of a study.

    Attributes:
        label: Name of the contender in tables.
        system: System with all learning rates to choose from.
        transport: Transport of its streams, see :func:`~tokcom_core.systems.transport_of`.
        any_tokens: Whether one network is trained for all token lengths.
        reference: The task's reference (intact text, noiseless air) that it is; None for a method.
    """

    label: str
    system: System
    transport: dict[str, Transport]
    any_tokens: bool = False
    reference: Reference | None = None

    def at(self, learning_rate: float | None) -> System:
        """The system at a learning rate, which is None if there is no choice."""
        return self.system if learning_rate is None else self.system.at_learning_rate(learning_rate)


def contenders_of(study: Study) -> tuple[Contender, ...]:
    """The references, each with the system of the first method that has it, then the methods."""
    methods = [
        Contender(m.label, study.system(m), m.transport, m.train_tokens == "any")
        for m in study.methods
    ]
    systems = [method.system for method in methods] or [study.systems.first]
    references = []
    for reference in study.task.references(study.data.folder):
        own = next(filter(None, (system.reference(reference) for system in systems)), None)
        if own is not None:
            references.append(Contender(reference.name, own, {}, reference=reference))
    return (*references, *methods)


def air_of(contender: Contender, air: AirBase, digital: DigitalConfig) -> AirBase:
    """The air of a method: with this digital link if the method needs one and the air has none."""
    packets = any(travels != "analog" for travels in contender.transport.values())
    if not packets or air.digital is not None:
        return air
    return air.model_copy(update={"digital": digital})


def transports_of(study: Study, contender: Contender, air: AirBase) -> dict[str, Transport]:
    """Transport of every stream of a method; by default packets on an air with a digital link."""
    usual: Transport = "analog" if air.digital is None else "digital"
    streams = contender.system.streams(study.task, study.tokens[0])
    return {s.name: transport_of(s, contender.transport) or usual for s in streams}


def digital_links(study: Study, contender: Contender) -> tuple[DigitalConfig, ...]:
    """The study's digital links that a method sends tokens over; just the first if it uses none."""
    airs = [air for air in study.airs if air.digital is None]
    sent = {travels for air in airs for travels in transports_of(study, contender, air).values()}
    return study.digital.each if "digital" in sent else study.digital.each[:1]
