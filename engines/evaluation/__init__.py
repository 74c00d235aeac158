"""How good: checkpoints, graphs and engines scored by one code path, compared, and their worst pictures shown.

The scores themselves are in `engines.metrics`. torch is imported for checkpoints only.
"""
