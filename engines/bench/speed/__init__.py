"""Every version of DeepLab on every backend of this machine: `python -m engines bench speed`.

The seeds' question: the papers of v1 and v2 state a run time, those of v3 and v3+ do not; are the models getting
slower? Weights are random, which changes no time (see `engines.bench.synthetic` for the one way it could).
"""
