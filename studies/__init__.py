"""Studies: what is swept, trials, tables and the ``tokcom`` command."""

from .study import Study, load, presets

__all__ = ["Study", "load", "presets"]
