"""How fast the workshop is: loader, training, evaluation, every network on every backend; and the ablation.

Each benchmark states its question, takes turns with what it is compared to in one process (a shared machine
drifts by tens of per cent within a minute), and writes figures and machine to one JSON file.
"""
