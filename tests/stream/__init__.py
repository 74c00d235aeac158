"""Whole streams with real processes."""
