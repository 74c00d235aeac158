"""ONNX graphs as modules of torch, for the backends that run them. Needs torch and onnx, which a stream does without.

`module.py` builds a module of a graph, `operators.py` holds a rule for each operator.
"""
