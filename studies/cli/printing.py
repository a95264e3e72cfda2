"""How tables are printed, and which warnings are not."""

from __future__ import annotations

import warnings
from typing import IO

from rich.console import Console
from rich.table import Table


def plain_console(file: IO[str] | None = None, width: int | None = None) -> Console:
    """A console that shows text as it is: a label may have brackets and colons in it."""
    return Console(file=file, width=width, markup=False, emoji=False)


def print_table(console: Console, table: Table) -> None:
    """Prints a table; a file or pipe has room for all of it."""
    screen = console if console.is_terminal else plain_console(console.file, 1000)
    screen.print(table)


def quieten() -> None:
    """Keeps warnings of transformers off the screen, but not its errors."""
    from transformers.utils.logging import set_verbosity_error

    set_verbosity_error()
    warnings.filterwarnings("ignore", category=FutureWarning)
