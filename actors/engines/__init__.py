"""Engines: where devices and base station live."""
