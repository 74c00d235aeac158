"""From a checkpoint to an engine: the graph, other precisions of it, and the manifest.

`graph.py` needs torch; making fp16, bf16 and int8 of an exported graph does not.
"""
