"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

Source = Annotated[str, typer.Argument(help="A preset's name or a YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="key=value, dotted for inner keys: link.access=tdma",
        metavar="KEY=VALUE",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="Address of a Ray cluster to join (auto or HOST:6379); --out must be visible to all "
        "its nodes."
    ),
]
StudyDir = Annotated[str, typer.Argument(metavar="DIR", help="The study's folder or URI.")]
Out = Annotated[
    str | None,
    typer.Option(
        metavar="DIR", help="The study's folder, or a URI: s3://...; studies_out/NAME by default."
    ),
]

# The modules that know these choices take long to import; tests/studies/test_cli.py compares them.
AllocationPolicy = Literal["equal", "proportional", "accuracy", "max-min"]
Scheduler = Literal["round-robin", "proportional-fair", "max-sinr"]
SearchAlgorithm = Literal["random", "optuna"]
FigureStyle = Literal["ieee"]
