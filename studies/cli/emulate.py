"""``tokcom emulate``: many users who ask over one air."""

from __future__ import annotations

from typing import Annotated

import typer

from . import running
from .options import Address, Out, Overrides, Scheduler


def emulate(
    source: Annotated[
        str, typer.Argument(help="A preset's name or a YAML file with 'emulate'.")
    ] = "emulate",
    users: Annotated[int | None, typer.Option(help="Number of users.")] = None,
    air: Annotated[str | None, typer.Option(help="An air of 'tokcom air list'.")] = None,
    duration: Annotated[float | None, typer.Option(help="Seconds in which they ask.")] = None,
    rate: Annotated[float | None, typer.Option(help="Questions per second of a user.")] = None,
    scheduler: Annotated[
        Scheduler | None, typer.Option(help="Which users send in an interval.")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Let the same users train every phase, too.")
    ] = False,
    out: Out = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Lets many users ask over one air: places, schedulers, faults. Run again, it goes on."""
    from ..plan.loading import load
    from ..plan.overrides import override_by

    given = {
        "--users": ("emulate.users", users),
        "--air": ("airs", air),
        "--duration": ("emulate.duration_s", duration),
        "--rate": ("emulate.questions_per_s", rate),
        "--scheduler": ("emulate.scheduler", scheduler),
        "--train": ("emulate.trains", train or None),
    }
    options = [
        override_by(option, key, value)
        for option, (key, value) in given.items()
        if value is not None
    ]
    study = load(source, (*options, *(overrides or ())))
    if study.emulate is None:
        raise ValueError(f"{source} has no key 'emulate'; take the preset 'emulate' or --users")
    running.run_and_print(study, out or f"studies_out/{study.name}", address)
