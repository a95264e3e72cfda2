"""The layout of a study's tables."""

from __future__ import annotations

from tokcom_core.systems import devices_of

from ..plan.contenders import contenders_of
from ..plan.study import Study
from .columns import ReferenceColumn, TableLayout


def layout_of(study: Study) -> TableLayout:
    """The layout that follows from the study's systems and task."""
    task, tokens = study.task, study.tokens[0]
    contenders = contenders_of(study)
    systems = [contender.system for contender in contenders]
    streams = [stream for system in systems for stream in system.streams(task, tokens)]
    phases = [phase for system in systems for phase in reversed(system.phases(task))]
    methods = [contender for contender in contenders if contender.reference is None]
    ours = [contender.system for contender in methods]
    sent = [own.stream for s in (*ours, *systems) for p in s.phases(task) for own in p.inputs]
    return TableLayout(
        devices=devices_of(streams),
        methods=tuple(method.label for method in methods),
        swept_devices=tuple(dict.fromkeys(name for s in systems for name in s.swept_devices(task))),
        groups=task.groups,
        parts=task.parts,
        metrics=task.metrics,
        graded=task.graded,
        references=tuple(
            ReferenceColumn(c.label, c.reference.bound)
            for c in contenders
            if c.reference is not None
        ),
        losses=tuple(dict.fromkeys(name for phase in phases for name in phase.losses)),
        streams=tuple(dict.fromkeys(sent)),  # methods first: references only send texts
        fitted=study.deadline_policy == "fit" and len(study.tokens) == 1,
    )
