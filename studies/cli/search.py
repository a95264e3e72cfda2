"""``tokcom study search``: the settings with which a method learns best."""

from __future__ import annotations

import json
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..plan.numbers import exact_text
from .options import Address, Overrides, SearchAlgorithm, Source
from .printing import console, plain_table, print_table

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_SHOWN = 10


def search(
    source: Source,
    method: Annotated[str, typer.Option(help="Label of the method.")],
    over: Annotated[
        list[str],
        typer.Option(
            help="A list to choose from: tokens.audio=[4,8]; or a range: "
            "tokens.audio={low: 2, high: 32}, logarithmic with log: true.",
            metavar="KEY=VALUES",
        ),
    ],
    trials: Annotated[int, typer.Option(help="Number of settings to try.")] = 16,
    by: Annotated[SearchAlgorithm, typer.Option(help="optuna learns as it goes.")] = "random",
    seed: Annotated[int, typer.Option(help="Of the settings.")] = 0,
    stop_early: Annotated[
        bool, typer.Option(help="Whether ASHA ends trials that lag behind.")
    ] = True,
    out: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="The search's folder, or a URI: s3://...; studies_out/NAME-search by default.",
        ),
    ] = None,
    overrides: Overrides = None,
    address: Address = None,
) -> None:
    """Searches the settings of a method that learn best under a budget, by Ray Tune."""
    from ..execution.parameter_search import search_settings
    from ..plan.loading import load
    from ..plan.search import search_of

    spaces = _spaces(over)
    asked = search_of(
        method=method, over=spaces, trials=trials, by=by, seed=seed, stops_early=stop_early
    )
    study = load(source, tuple(overrides or ()))
    place = out or f"studies_out/{study.name}-search"
    table = search_settings(study, asked, place, console, address)
    print_table(console, _trials(table.head(_SHOWN)))
    if len(table) > _SHOWN:
        console.print(f"the {_SHOWN} best of {len(table)} trials; all of them are in")
    console.print(f"{place}/search.parquet", soft_wrap=True, highlight=False)
    done = table[table["status"] == "done"]
    if done.empty:
        raise typer.Exit(1)
    best = done.iloc[0]
    settings = [f"{key}={_plain(best[key])}" for key in spaces]
    if len(study.methods) > 1 and any(key.startswith("methods.") for key in spaces):
        (alone,) = (each.model_dump(mode="json") for each in study.methods if each.label == method)
        settings.insert(0, f"methods={json.dumps([alone])}")
    sets = " ".join(f"--set {quote(setting)}" for setting in settings)
    console.print(f"the best: {sets}", soft_wrap=True, highlight=False)


def _spaces(over: list[str]) -> dict[str, Any]:
    """What is searched, by dotted key.

    Raises:
        ValueError: for text that is not ``key=value``, or a key that is there twice.
    """
    from ..plan.overrides import overrides_of

    spaces: dict[str, Any] = {}
    for change in overrides_of(over, "--over"):
        if change.key in spaces:
            raise ValueError(
                f"--over {change.key} is there twice; give all its values in one list or range"
            )
        spaces[change.key] = change.value
    return spaces


def _trials(table: pd.DataFrame) -> Table:
    """Trials by rank, without empty columns; headers are the last two parts of long keys."""
    shown = table.replace("", None).dropna(axis=1, how="all")
    trials = plain_table(*[".".join(str(name).split(".")[-2:]) for name in shown])
    for row in shown.itertuples(index=False):
        trials.add_row(*[_text(value) for value in row])
    return trials


def _text(value: Any) -> str:
    if value is None or value != value:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _plain(value: Any) -> str:
    """A value as YAML on the command line has it, with all digits of a number that needs them."""
    return exact_text(value) if isinstance(value, float) else str(value)
