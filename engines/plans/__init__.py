"""Plans: what TensorRT makes of an ONNX graph, built once, kept, and found again.

`builder` makes one, `cache` keeps it, `key` says when it may be used, `layers` shows what is in it; the backend that
runs plans is `engines.runtime.tensorrt_engine`. The trap: a plan is native code. One is opened only when the hash of
its bytes stands in the manifest that we wrote beside it, in a folder that nobody else may write to.
The package is not called `build` because git, ruff and packagers pass over folders of that name.
"""
