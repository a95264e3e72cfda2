"""How tables are printed, and which warnings are not."""

from __future__ import annotations

import warnings
from typing import IO

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

_FILE_WIDTH = 1000


def plain_console(file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console that shows text as it is: a label may have brackets and colons in it."""
    return Console(file=file, width=width, markup=False, emoji=False)


console = plain_console()
"""The console of all commands."""


def plain_table(*headers: str, title: str | None = None) -> Table:
    """An empty table; one with a title stands between empty lines."""
    table = Table(
        *headers,
        title=title,
        box=box.SIMPLE_HEAD,
        show_edge=title is not None,
        padding=(0, 1, 0, 0),
    )
    for column in table.columns:
        column.overflow = "fold"  # what is cut off cannot be copied, and may look like another
    return table


def print_table(console: Console, table: RenderableType) -> None:
    """Prints a table or a note; a file or pipe has room for all of it."""
    screen = console if console.is_terminal else plain_console(console.file, _FILE_WIDTH)
    screen.print(table)


def quieten() -> None:
    """Keeps warnings of transformers off the screen, but not its errors."""
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)
