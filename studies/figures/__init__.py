"""Figures and reports drawn from the tables."""
