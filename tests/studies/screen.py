"""What a screen shows, as text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType


def screen_text(*shown: RenderableType, width: int = 120) -> str:
    """Tables and texts as a pipe gets them, in lines of at most ``width`` characters."""
    screen = io.StringIO()
    console = Console(file=screen, width=width)
    for one in shown:
        console.print(one)
    return screen.getvalue()
