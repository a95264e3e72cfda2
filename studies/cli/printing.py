"""How tables are printed."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table


def print_table(console: Console, table: Table) -> None:
    """Prints a table; a file or pipe has room for all of it."""
    screen = console if console.is_terminal else Console(file=console.file, width=1000)
    screen.print(table)
