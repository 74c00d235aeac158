"""How a picture moved since the one before: optical flow on a small luma picture, and planes moved along it.

Dense inverse search (DIS, Kroeger et al. 2016) with OpenCV's fastest preset, on a picture whose longer side is at most
`FLOW_SIDE_PX`: a third of a millisecond. The trap: a flow here looks back. It stands on the pixels of the *current*
picture and says where each was before, because that is what moving a plane (a gather) needs.
"""

import threading

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import InputSizeError

__all__ = ["FLOW_SIDE_PX", "Flow", "Image", "Planes", "flow", "luma", "warp"]

FLOW_SIDE_PX = 320
"""Flow is searched in a picture whose longer side is at most this."""

Image = NDArray[np.uint8]
Plane = NDArray[np.float32]
Planes = NDArray[np.float32]
"""(C, h, w)"""
Flow = NDArray[np.float32]
"""(fh, fw, 2): for each pixel of the current picture x and y to where it was before, in pixels of this grid."""

FINEST = 2
"""Of OpenCV's fastest preset: the last search is on a quarter of the size."""
MOST_SEARCHERS = 4
"""Sizes a thread keeps buffers for: a stage that fuses over time and a CRF beside it take one each."""

_of_thread = threading.local()


def luma(image_bgr: Image) -> Image:
    """(h, w, 3) BGR to the small grey picture in which flow is searched; a fresh array.

    Raises:
        InputSizeError: not such a picture.
    """
    return grey_of(shrunk(image_bgr))


def shrunk(image_bgr: Image) -> Image:
    """(h, w, 3) to at most `FLOW_SIDE_PX` on the longer side, still in colour; the picture itself when it is small.

    Raises:
        InputSizeError: not such a picture.
    """
    if image_bgr.ndim != 3 or image_bgr.shape[2] != 3 or image_bgr.dtype != np.uint8 or not image_bgr.size:
        raise InputSizeError(f"flow picture is {image_bgr.dtype} {image_bgr.shape}, expected uint8 (h, w, 3)")
    height, width = image_bgr.shape[:2]
    # A whole divisor: averaging 2x2 pixels takes 0.05 ms, 512x288 to 320x180 takes 1.3.
    divisor = -(-max(height, width) // FLOW_SIDE_PX)
    if divisor == 1:
        return image_bgr
    size = (max(1, width // divisor), max(1, height // divisor))
    return np.asarray(cv2.resize(image_bgr, size, interpolation=cv2.INTER_AREA), np.uint8)


def grey_of(image_bgr: Image) -> Image:
    """(h, w, 3) BGR to (h, w) luma; a fresh array."""
    return np.asarray(cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY), np.uint8)


def flow(previous_bgr: Image, current_bgr: Image) -> Flow:
    """Where each pixel of the current picture was in the previous one.

    Args:
        previous_bgr: (h, w, 3) uint8.
        current_bgr: of the same size.

    Returns:
        (fh, fw, 2) float32, at most `FLOW_SIDE_PX` on the longer side, in pixels of that grid; a fresh array.

    Raises:
        InputSizeError: two sizes, or no such pictures.
    """
    return flow_of_luma(luma(previous_bgr), luma(current_bgr))


def flow_of_luma(previous: Image, current: Image, finest: int = FINEST) -> Flow:
    """As `flow`, of two pictures that `luma` made; with the arguments exchanged it looks ahead.

    Args:
        finest: how often the pictures are halved for the last search. A picture that is half as large already wants
            one less and gives the same motion sooner.

    Raises:
        InputSizeError: two sizes.
    """
    if previous.shape != current.shape:
        raise InputSizeError(f"flow between pictures of {previous.shape} and {current.shape}, expected one size")
    if min(current.shape) < PATCH_PX << finest:
        return np.zeros((*current.shape, 2), np.float32)
    # Without an array: one that is given is taken for a first guess.
    found = _searcher(current.shape, finest).calc(current, previous, None)  # type: ignore[call-overload]
    return np.asarray(found, np.float32)


def warp(planes: Planes, flow: Flow, out: Planes | None = None) -> Planes:
    """Move planes of the previous frame to where their pixels are now, bilinearly; borders are repeated.

    Args:
        planes: (C, h, w) float32 of the frame before, of any size: the flow is brought to it.
        flow: as `flow` gives it.
        out: (C, h, w) to write into; not `planes` itself.

    Returns:
        (C, h, w) float32: `out`, or a fresh array.
    """
    moved = np.empty_like(planes) if out is None else out
    x, y = places_of(resized(flow, planes.shape[1], planes.shape[2]))
    for plane, target in zip(planes, moved, strict=True):
        cv2.remap(plane, x, y, cv2.INTER_LINEAR, dst=target, borderMode=cv2.BORDER_REPLICATE)
    return moved


def resized(flow: Flow, height: int, width: int) -> Flow:
    """The same motion on another grid, in that grid's pixels; the flow itself when it has that size."""
    flow_height, flow_width = flow.shape[:2]
    if (flow_height, flow_width) == (height, width):
        return flow
    # At a half both are means of 2x2 pixels, and this one takes a third of the time.
    how = cv2.INTER_LINEAR if (flow_height, flow_width) == (2 * height, 2 * width) else cv2.INTER_AREA
    found = np.asarray(cv2.resize(flow, (width, height), interpolation=how), np.float32)
    if width * flow_height == height * flow_width:
        found *= np.float32(width / flow_width)
    else:
        found *= np.array([width / flow_width, height / flow_height], np.float32)
    return found


def places_of(flow: Flow) -> tuple[Plane, Plane]:
    """Where each pixel was before, as x and y (h, w), the way `cv2.remap` takes them; fresh arrays."""
    height, width = flow.shape[:2]
    x = np.asarray(flow[..., 0] + np.arange(width, dtype=np.float32), np.float32)
    y = np.asarray(flow[..., 1] + np.arange(height, dtype=np.float32)[:, None], np.float32)
    return x, y


PATCH_PX = 8
"""OpenCV's patches: with a side below one of them, after all the halving, its search writes where it must not (5.0: a
crash at heights of 16 to 31); nothing is taken to move in such pictures."""


def _searcher(shape: tuple[int, ...], finest: int) -> cv2.DISOpticalFlow:
    # One a thread, for it keeps buffers; and one a size, for a small picture changes its preset for good.
    searchers: dict[tuple[int, ...], cv2.DISOpticalFlow] = _of_thread.__dict__.setdefault("searchers", {})
    key = (*shape, finest)
    if key not in searchers:
        if len(searchers) >= MOST_SEARCHERS:
            searchers.clear()
        searchers[key] = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        searchers[key].setFinestScale(finest)
    return searchers[key]
