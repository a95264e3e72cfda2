"""Checks of methods and data at any budget: mistakes that end a study before it runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from actors.emulation.traffic import count_questions
from tokcom_core.errors import in_one_line
from tokcom_core.systems import STREAM_KINDS, System, devices_of
from tokcom_core.tasks import TASKS, Task

from .contenders import Contender, air_of, transports_of
from .outside import check_outside
from .study import Study


def check_data(study: Study) -> None:
    """Raises ValueError if the study's miniature data set does not have the data of its task.

    Tasks from outside the package are not checked: what they read is their own affair.
    """
    for task in getattr(study.task, "tasks", (study.task,)):
        if type(task) in TASKS.values():
            study.data.check(task.name, task.media, _files(task))


def _files(task: Task) -> list[Path]:
    """The files that a task reads below its data folder; none if it has to search for them."""
    root = Path(os.devnull)  # nothing is below it
    try:
        files = task.annotation_files(root)
    except ValueError:
        return []
    return [file.relative_to(root) if file.is_relative_to(root) else file for file in files]


def check_method(study: Study, contender: Contender) -> None:
    """Raises ValueError for lengths, streams, transports and airs that a method cannot have.

    For a system from outside the package, also for what it returns wrongly, see
    :mod:`.outside`.
    """
    system = contender.system
    check_outside(system, study.task, study.tokens[0])
    for tokens in study.tokens:
        with in_one_line(type(system), "check()"):
            system.check(study.task, tokens)
    if contender.any_tokens and not contender.system.ANY_LENGTH:
        raise ValueError(
            f"method {contender.label!r}: train_tokens 'any' draws token lengths at every step, "
            f"which system {contender.system.name} does not take; take 'matched'"
        )
    _check_streams(study, contender)
    if study.emulate is not None and contender.system.in_rounds:
        raise ValueError(
            f"method {contender.label!r} answers in rounds of feedback, which the many users of "
            "'emulate' do not take; take a method that answers at once"
        )
    phases = contender.system.phases(study.task)
    parts = [phase for phase in phases if phase.micro_batch_size is not None]
    if study.emulate is not None and study.emulate.trains and parts:
        raise ValueError(
            f"method {contender.label!r} trains its phase {parts[0].name!r} in micro-batches, but "
            "what many users send at once is received at once; leave micro_batch_size out, or "
            "take emulate.trains: false"
        )
    _check_airs(study, contender)


def check_emulation(study: Study, methods: Sequence[Contender]) -> None:
    """Raises ValueError for users who miss a device that no method has, or who all ask nothing."""
    if study.emulate is None:
        return
    asked = [
        count_questions(own.users, own.questions_per_s, own.duration_s, seed)
        for own in study.emulate.each
        for seed in study.seeds
    ]
    if not any(asked):
        raise ValueError(
            "emulate: nobody asks a question; take more users, duration_s or questions_per_s"
        )
    streams = [s for m in methods for s in m.system.streams(study.task, study.tokens[0])]
    devices = devices_of(streams)
    if unknown := sorted(study.emulate.missing_prob.keys() - set(devices)):
        raise ValueError(
            f"emulate.missing_prob: no method has a device {', '.join(map(repr, unknown))}; take "
            f"{', '.join(devices)}"
        )


def _check_streams(study: Study, contender: Contender) -> None:
    streams = contender.system.streams(study.task, study.tokens[0])
    unknown = contender.transport.keys() - {*STREAM_KINDS, *(stream.name for stream in streams)}
    if unknown:
        raise ValueError(
            f"method {contender.label!r}: transport has no stream {min(unknown)!r}; take "
            f"some of {', '.join(stream.name for stream in streams)}, or "
            f"{' and '.join(STREAM_KINDS)}, which stand for several"
        )


def _check_airs(study: Study, contender: Contender) -> None:
    links = [study.link_at(bandwidth_hz) for bandwidth_hz in study.bandwidth_hz]
    crossing = _crossing_streams(contender.system, study.task)
    for air in study.airs:
        kinds = {t for s, t in transports_of(study, contender, air).items() if s in crossing}
        if contender.system.in_rounds and "file" in kinds:
            raise ValueError(
                f"method {contender.label!r} answers in rounds of feedback, which transport "
                "'file' has no device for; take analog or digital"
            )
        if contender.system.in_rounds and len(kinds) > 1:
            raise ValueError(
                f"method {contender.label!r} answers in rounds of feedback, for which "
                f"{' and '.join(sorted(crossing))} have to travel alike; give each of them the "
                "same transport"
            )
        for link in links:
            air_of(contender, air, study.digital.each[0]).check(link)
        if links[0].access == "sdma" and "analog" in kinds and len(kinds) > 1:
            raise ValueError(
                f"method {contender.label!r}: under access sdma all streams travel as token "
                "symbols, or all as packets; take access ofdma or tdma"
            )


def _crossing_streams(system: System, task: Task) -> set[str]:
    """Names of the streams that cross the air, in some phase or in the test."""
    trained = {name for phase in system.phases(task) for name in phase.crossing}
    return trained | set(system.served(task))
