"""Emulation: many users who ask, a scheduler, faults, a journal."""
