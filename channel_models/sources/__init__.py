"""Realisation sources: where the path gains and delays of linear airs come from."""
