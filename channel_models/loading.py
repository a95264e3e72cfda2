"""Loads objects by ``package.module:name``, as studies name classes or functions of one's own."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def load_object(path: str) -> Any:
    """Returns what ``package.module:name`` names; runs the module if it is not imported yet.

    Raises:
        ValueError: if the module cannot be imported, or has no such name.
    """
    module, separator, name = path.partition(":")
    if not (module and separator and name):
        raise ValueError(f"{path!r} is no path of an object; give package.module:name")
    try:
        loaded = import_module(module)
    except Exception as error:  # whatever is wrong with a module of the user's own
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"{path!r} cannot be imported ({type(error).__name__}: {reason}); "
            "give package.module:name, importable from here"
        ) from error
    if not hasattr(loaded, name):
        raise ValueError(f"module {module!r} has no {name!r}; give package.module:name")
    return getattr(loaded, name)
