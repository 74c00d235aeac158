"""Benchmarks of the stream: each answers one question, side by side in one run."""
