"""Watchers of a training: what a person sees while it runs and afterwards.

Each is a `Watcher` (engines.training.watch): the trainer tells it facts and never waits for an answer. They
only look: a training with and without them gives the same weights.
"""
