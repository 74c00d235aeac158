"""Masks that hold still: logits are fused with those of the frames before, moved along the picture's motion.

    fusion = TemporalFusion(stability=1.0)
    for tensor_bgr, logits in frames:
        steady = fusion.fuse(logits, tensor_bgr)

`watch.py` and `drift.py` say where the past can be trusted, `fusion.py` mixes, `masks.py` makes alpha and labels of
the result; `lag.py` and `mover.py` measure that nothing is delayed. The trap: a mask that never changes is perfectly
steady, so flips alone say nothing; look at the lag and at the mIoU beside them.
"""

from engines.temporal.fusion import TemporalFusion
from engines.temporal.watch import Moved, Watch

__all__ = ["Moved", "TemporalFusion", "Watch"]
