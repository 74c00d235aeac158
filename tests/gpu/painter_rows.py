"""Effects composed on the device, from the engine's mask to the composite, beside the host's painters.

`ms` is the work of the GPU for one frame, `launched` what the worker sees that queues it. The trap: the host rounds
small pictures and blends correct to two levels, so the two are never equal.
"""

from collections.abc import Iterator
from fractions import Fraction

import cv2
import numpy as np
import torch

from engines.geometry import fit
from engines.spec import EngineSpec
from pipeline.effects import effect_from_text
from pipeline.effects.device_plans import backdrop_on_device, blur_on_device
from pipeline.effects.replace import BackdropPainter
from pipeline.frame import StreamFormat
from pipeline.matte import MatteUpsampler
from pipeline.settings import MatteOptions
from tests.gpu.clock import graphed, launched
from tests.gpu.rows import Row

__all__ = ["painter_rows"]

BOUND = 4.0
EFFECTS = ("blur:12", "cutout")


def painter_rows(device: torch.device, spec: EngineSpec, size: tuple[int, int]) -> Iterator[Row]:
    """A row an effect.

    Args:
        spec: of an engine with a subject; only its sizes count.
        size: (height, width) of the frame.
    """
    height, width = size
    format = StreamFormat(width, height, Fraction(30), False, "drawn")
    image_bgr = cv2.GaussianBlur(
        np.random.default_rng(3).integers(0, 256, (height, width, 3)).astype(np.uint8), (9, 9), 3
    )
    rows, columns = spec.input.height, spec.input.width
    mask = np.zeros((rows, columns), np.uint8)
    cv2.ellipse(mask, (columns // 2, rows // 2), (columns // 4, rows // 3), 0, 0, 360, (255,), -1)
    mask = cv2.GaussianBlur(mask, (5, 5), 1)
    geometry = fit(height, width, spec.input)
    there, mask_there = torch.tensor(image_bgr, device=device), torch.tensor(mask, device=device)
    out = torch.empty_like(there)
    for text in EFFECTS:
        effect = effect_from_text(text)
        host = effect.open(format)
        made = (
            backdrop_on_device(host, format, geometry, device)
            if isinstance(host, BackdropPainter)
            else blur_on_device(effect, format, geometry, device)
        )
        matte = MatteUpsampler(format, spec, MatteOptions(edges="linear")).matte(mask, None, image_bgr)
        wanted = np.empty_like(image_bgr)
        host.paint(image_bgr, matte, 0, wanted)

        def run(made=made) -> None:
            made.paint(there, mask_there, out)

        run()
        difference = float(np.abs(out.cpu().numpy().astype(int) - wanted).max())
        work, times = f"compose {text}, {width}x{height}", (None, None, None)
        if device.type == "cuda":
            time, whole = graphed(run), launched(run)
            times = (time.median, time.p95, whole.median)
        yield Row(work, "the host's painter", difference, BOUND, "levels", *times)
