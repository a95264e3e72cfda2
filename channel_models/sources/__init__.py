"""Realisation sources, which yield the path gains and delays of linear airs."""
