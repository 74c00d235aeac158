"""Does the stream see what the evaluation saw? A labelled set, played through the real corridor.

`measure` is the way in: checkpoint, ONNX graph, lossless stream and H.264 stream are scored on the same pictures,
and a difference is given a name. The trap: the same mIoU proves little, half a pixel costs a tenth of a point or
nothing at all; so the tensors of the lossless stream are compared bit by bit as well.
"""
