"""An fp32 graph becomes an int8 graph: explicit Q/DQ around convolutions, ranges from real pictures.

`ranges` watches the graph and chooses how far int8 must reach; `place` writes the Q/DQ pairs. The form is the one
that OpenVINO, ONNX Runtime and TensorRT all take: int8 symmetric (zero point 0), weights by channel, bias in float.
The trap is in what to leave alone: depthwise convolutions, the first, the last, and those with fewer than 64 channels
on a side stay in float. Person engine at 512x288, mIoU under P2 on every third ccp picture of person/val, 32 to 64
pictures for calibration: 95.41 in fp32; 95.11 with all but depthwise, first and last in int8; 95.34 without the narrow
ones too. `mse`, `percentile` and `minmax` differ by 0.04 points there.

ONNX Runtime's own `quantize_static` gives the same form, but holds every activation of every picture in memory for
all methods but `minmax` (gigabytes at 512x288), and with symmetric activations it rounds twice, before and after
each ReLU.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from engines.errors import ExportError
from engines.export.quantise.place import placed, watched_tensors
from engines.export.quantise.ranges import Method, observed

__all__ = ["Method", "quantised"]


def quantised(
    graph: onnx.ModelProto, pictures_bgr: Iterable[NDArray[np.uint8]], method: Method = "mse"
) -> tuple[onnx.ModelProto, int]:
    """The int8 form of a served fp32 graph; the graph itself is left as it is.

    Args:
        pictures_bgr: (batch, height, width, 3) uint8 of the graph's size, real ones.
        method: how a range is chosen from what was seen; see `engines.export.quantise.ranges`.

    Returns:
        The graph, and how many pictures it was calibrated on.

    Raises:
        ExportError: there is no picture, or no convolution that int8 pays for.
    """
    tensors = watched_tensors(graph)
    if not tensors:
        raise ExportError(
            "int8: no convolution to quantise (all are depthwise, first or last); export this network in fp32"
        )
    ranges, n_pictures = observed(graph, tensors, pictures_bgr)
    if n_pictures == 0:
        raise ExportError("int8 is calibrated on real pictures, and none were given; name a folder with --calib")
    return placed(graph, {name: ranges[name].reach(method) for name in tensors}), n_pictures
