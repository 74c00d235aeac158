"""Frames whose planes stay on a device from resizing to the picture that is shown.

`lanes.py` queues copies and says when they are done, `planes.py` has one frame's planes and the engine between them,
`painters.py` composes, `small_blur.py` blurs for it. Importing this package imports no torch; its modules do. The
trap: all of it is queued. What the host reads must be waited for, and a seat may be used again only then.

Not yet run on a GPU: the same code runs on the CPU in the tests, kernels interpreted, streams and events with fakes.
"""
