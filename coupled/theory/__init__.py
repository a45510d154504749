"""Formulas that engine and analysis share (docs/theory.md)."""
