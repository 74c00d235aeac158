"""Mattes: what painters and sinks see of a segmentation, at the frame's size.

`upsampler.py` makes them, `edges.py` puts their contours on the picture's edges, `outline.py` shrinks and softens them;
`steadiness.py` says how they hold still.
"""

from pipeline.matte.upsampler import Matte, MatteUpsampler

__all__ = ["Matte", "MatteUpsampler"]
