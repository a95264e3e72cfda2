"""The ``tokcom`` command."""

from __future__ import annotations

import atexit
import gc
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tokcom_core.storage import complaint, is_full

from .airs import air_app
from .allocate import allocate
from .budget import budget
from .data import data_app, zoo_app
from .data_check import check
from .doctor import doctor
from .draw import draw
from .emulate import emulate
from .search import search
from .speed import speed
from .study import study_app
from .tsne import tsne

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(emulate)
app.command()(budget)
app.command()(allocate)
app.command()(draw)
app.command()(doctor)
data_app.command()(check)
study_app.command()(search)
study_app.command()(speed)
study_app.command()(tsne)
app.add_typer(study_app, name="study")
app.add_typer(air_app, name="air")
app.add_typer(data_app, name="data")
app.add_typer(zoo_app, name="zoo")

_NEW_OBJECTS = 50_000
"""Number of new objects after which Python looks for garbage, instead of 700. Imports alone make
some hundred thousand; to look through them again and again takes a fifth of a report's time."""
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Runs the command; a user's mistake is one line and exit code 2."""
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)  # or Python looks through all modules before it ends: 2 s
    sys.path.append(os.getcwd())  # where custom classes are looked for, as with python -m
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except _UsageError as error:
        message = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
        if message:  # without arguments the help has been shown
            _fail(f"{message.replace('Value error, ', '')}; see --help")
        sys.exit(2)
    except OSError as error:
        _fail(complaint(error), 1 if is_full(error) else 2)
    except MemoryError as error:
        _fail(str(error) or "memory ran out", 1)
    except ValueError as error:
        _fail(str(error))


def _show_version(asked: bool) -> None:
    if asked:
        print(f"tokcom {version('tokcom')}")
        raise typer.Exit


@app.callback()
def options(
    asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Multiuser emulation and resource studies of token communications."""


def _fail(message: str, code: int = 2) -> None:
    print(f"tokcom: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
