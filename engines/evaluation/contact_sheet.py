"""The pictures a network is worst at, on one sheet: image, truth, prediction, error.

Works without a plotting library, so that an engine can be looked at wherever it runs. The trap: pictures are kept
small, and only as many as the sheet shows, however long the data set.
"""

import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.errors import EngineError
from engines.evaluation.evaluate import Seen

__all__ = ["WorstPictures", "contact_sheet"]

TILE_WIDTH_PX, TILE_HEIGHT_PX = 240, 180
GAP_PX = 6
TITLE_PX = 24
COLUMNS = ("image", "truth", "prediction", "error")
GROUND_BGR, INK_BGR, FAINT_BGR = (250, 250, 250), (30, 30, 30), (120, 120, 120)
IGNORED_BGR = (170, 170, 170)
RIGHT_BGR, WRONG_BGR = (235, 235, 235), (40, 40, 215)
TINT = 0.6
"""Share of a class's colour over the darkened picture."""

Image = NDArray[np.uint8]
Palette = Sequence[tuple[int, int, int]]


@dataclass(frozen=True, eq=False)
class _Kept:
    name: str
    miou: float
    image_bgr: Image
    truth: Image
    predicted: Image


class WorstPictures:
    """Keeps the pictures with the lowest mIoU of their own; give `add` to `evaluate` as `watch`."""

    def __init__(self, n: int = 10) -> None:
        self.n = n
        self._heap: list[tuple[float, int, _Kept]] = []
        self._order = count()

    def add(self, seen: Seen) -> None:
        """A picture that was scored; one that is ignored as a whole has no score and is never kept."""
        if math.isnan(seen.miou) or (len(self._heap) == self.n and -seen.miou <= self._heap[0][0]):
            return
        kept = _Kept(
            seen.pair.name,
            seen.miou,
            _shrunk(seen.pair.image_bgr, cv2.INTER_AREA),
            _shrunk(seen.pair.label_map, cv2.INTER_NEAREST),
            _shrunk(seen.label_map, cv2.INTER_NEAREST),
        )
        # The least bad lies on top; of equal ones the first seen stays.
        push = heapq.heappush if len(self._heap) < self.n else heapq.heappushpop
        push(self._heap, (-seen.miou, -next(self._order), kept))

    @property
    def names(self) -> tuple[str, ...]:
        """Worst first."""
        return tuple(kept.name for kept in self._sorted())

    def sheet(self, classes: Sequence[str], palette: Palette) -> Image:
        """See `contact_sheet`."""
        return contact_sheet(self._sorted(), classes, palette)

    def write(self, path: Path, classes: Sequence[str], palette: Palette) -> None:
        """The sheet as a file.

        Raises:
            EngineError: it cannot be written there.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            is_written = cv2.imwrite(str(path), self.sheet(classes, palette))
        except cv2.error:
            is_written = False
        if not is_written:
            raise EngineError(f"{path}: the contact sheet cannot be written; name a .png in a folder you may write to")

    def _sorted(self) -> list[_Kept]:
        return [kept for _, _, kept in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


def contact_sheet(kept: Sequence[_Kept], classes: Sequence[str], palette: Palette) -> Image:
    """A row a picture, two rows side by side from five on; (height, width, 3) uint8 BGR, a fresh array.

    Truth and prediction tint the darkened picture with the palette; in the error tile wrong pixels are red, right ones
    light grey, ignored ones darker grey.
    """
    palette_bgr = np.full((256, 3), IGNORED_BGR, np.uint8)
    palette_bgr[: len(palette)] = np.array(palette, np.uint8)[:, ::-1]
    n_columns = 2 if len(kept) > 4 else 1
    n_rows = max(1, -(-len(kept) // n_columns))
    block = (TITLE_PX + TILE_HEIGHT_PX + GAP_PX, len(COLUMNS) * (TILE_WIDTH_PX + GAP_PX) + GAP_PX)
    legend = _legend(classes, palette_bgr, n_columns * block[1])
    sheet = np.empty((len(legend) + n_rows * block[0] + GAP_PX, n_columns * block[1], 3), np.uint8)
    sheet[...] = GROUND_BGR
    sheet[: len(legend)] = legend
    for place, picture in enumerate(kept):
        column, row = divmod(place, n_rows)
        top, left = len(legend) + row * block[0], column * block[1] + GAP_PX
        title = f"{place + 1}. {picture.name}   mIoU {picture.miou:.3f}"
        _write(sheet, title, (left, top + TITLE_PX - 7), 0.5, INK_BGR)
        for index, tile in enumerate(_tiles(picture, palette_bgr)):
            x = left + index * (TILE_WIDTH_PX + GAP_PX) + (TILE_WIDTH_PX - tile.shape[1]) // 2
            y = top + TITLE_PX
            sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _tiles(picture: _Kept, palette_bgr: Image) -> list[Image]:
    grey = cv2.cvtColor(cv2.cvtColor(picture.image_bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    error = np.empty_like(picture.image_bgr)
    error[...] = RIGHT_BGR
    error[picture.predicted != picture.truth] = WRONG_BGR
    error[picture.truth == IGNORE] = IGNORED_BGR
    return [
        picture.image_bgr,
        *(
            np.asarray(cv2.addWeighted(palette_bgr[labels], TINT, grey, 1 - TINT, 0), np.uint8)
            for labels in (picture.truth, picture.predicted)
        ),
        error,
    ]


def _legend(classes: Sequence[str], palette_bgr: Image, width: int) -> Image:
    """The columns' names, and the classes in their colours, as many lines as they need."""
    places: list[tuple[int, int, str, tuple[int, int, int]]] = []
    x, line = GAP_PX, 0
    entries = [(name, palette_bgr[index]) for index, name in enumerate(classes)]
    for name, colour in [*entries, ("ignored", palette_bgr[IGNORE]), ("wrong", np.array(WRONG_BGR))]:
        wide = 30 + cv2.getTextSize(name, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)[0][0]
        if x + wide > width and x > GAP_PX:
            x, line = GAP_PX, line + 1
        blue, green, red = map(int, colour)
        places.append((x, line, name, (blue, green, red)))
        x += wide
    legend = np.empty(((line + 2) * TITLE_PX, width, 3), np.uint8)
    legend[...] = GROUND_BGR
    _write(legend, "each: " + ", ".join(COLUMNS), (GAP_PX, TITLE_PX - 8), 0.45, FAINT_BGR)
    for x, line, name, bgr in places:
        y = (line + 1) * TITLE_PX
        cv2.rectangle(legend, (x, y + 4), (x + 14, y + 18), bgr, cv2.FILLED)
        cv2.rectangle(legend, (x, y + 4), (x + 14, y + 18), FAINT_BGR, 1)
        _write(legend, name, (x + 19, y + 16), 0.45, INK_BGR)
    return legend


def _shrunk(picture: Image, interpolation: int) -> Image:
    """To fit a tile, never enlarged; a fresh array."""
    height, width = picture.shape[:2]
    scale = min(1.0, TILE_WIDTH_PX / width, TILE_HEIGHT_PX / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), np.uint8).copy()


def _write(sheet: Image, text: str, where: tuple[int, int], scale: float, bgr: tuple[int, int, int]) -> None:
    # OpenCV's letters are ASCII; anything else would become question marks by the byte.
    plain = text.encode("ascii", "replace").decode()
    cv2.putText(sheet, plain, where, cv2.FONT_HERSHEY_SIMPLEX, scale, bgr, 1, cv2.LINE_AA)
