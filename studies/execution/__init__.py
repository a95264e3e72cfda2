"""Runs a study: specs, trials, progress."""
