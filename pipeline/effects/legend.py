"""Names and colours of the classes in a corner of the picture.

Drawn once, then laid over each frame. The trap: it must fit any frame, so it takes more columns when it
is too high, says how many classes it leaves out, and stays away where not even one line fits.
"""

import cv2
import numpy as np

from pipeline.effects.effect import Image

__all__ = ["Legend"]

FONT = cv2.FONT_HERSHEY_SIMPLEX
LINES_A_FRAME = 34
"""Height of a frame in lines of the legend: a line is 21 px at 720."""
LEAST_LINE_PX = 14
"""Lower lines cannot be read."""
MOST_HEIGHT = 0.7
MOST_WIDTH = 0.6
"""Of the frame, for the whole panel."""
PANEL_BGR = (28, 24, 22)
PANEL_OPACITY = 0.72
TEXT_BGR = (238, 238, 238)


class Legend:
    """A panel in the lower left corner."""

    def __init__(self, height: int, width: int, classes: list[tuple[str, tuple[int, int, int]]]) -> None:
        """`classes`: the name and the (R, G, B) of each class to list."""
        line = max(LEAST_LINE_PX, round(height / LINES_A_FRAME))
        edge = line // 2
        scale, thickness = line / 36, max(1, round(line / 22))
        most_rows = int((height * MOST_HEIGHT - 2 * edge) // line)
        column = round(1.75 * line) + max((_width(name, scale, thickness) for name, _ in classes), default=0)
        most_columns = int((width * MOST_WIDTH - 2 * edge) // column)
        self._area: tuple[slice, slice] | None = None
        if most_rows < 1 or most_columns < 1 or not classes:
            return
        room = most_rows * most_columns
        rows_of_text = [(name, colour_rgb) for name, colour_rgb in classes[:room]]
        if len(classes) > room:
            rows_of_text[-1] = (f"+ {len(classes) - room + 1} more", (0, 0, 0))
        n_columns = -(-len(rows_of_text) // most_rows)
        n_rows = -(-len(rows_of_text) // n_columns)
        size = (n_rows * line + 2 * edge, n_columns * column + 2 * edge)
        top, left = height - edge - size[0], edge
        self._area = (slice(top, top + size[0]), slice(left, left + size[1]))
        self._panel = np.zeros((*size, 3), np.uint8)
        self._panel[:] = [round(level * PANEL_OPACITY) for level in PANEL_BGR]
        self._keep = np.full((*size, 3), 255 - round(255 * PANEL_OPACITY), np.uint8)
        for index, (name, colour_rgb) in enumerate(rows_of_text):
            left, top = edge + index // n_rows * column, edge + index % n_rows * line
            row = (slice(top, top + line), slice(left, left + column))
            _draw_row(self._panel[row], self._keep[row], name, colour_rgb, scale, thickness)

    def draw(self, out: Image) -> None:
        """Lay the panel over the frame."""
        if self._area is not None:
            corner = out[self._area]
            cv2.multiply(corner, self._keep, dst=corner, scale=1 / 255)
            cv2.add(corner, self._panel, dst=corner)


def _draw_row(
    panel: Image, keep: Image, name: str, colour_rgb: tuple[int, int, int], scale: float, thickness: int
) -> None:
    """A swatch and a name into one row's part of the panel, and how much of the frame is kept beneath."""
    line = panel.shape[0]
    gap = max(2, line // 6)
    if any(colour_rgb):
        panel[gap : line - gap, gap : line - gap] = colour_rgb[::-1]
        keep[gap : line - gap, gap : line - gap] = 0
    # The text's own weight: where it is white the frame is kept out, in proportion at its soft edges.
    weight = np.zeros(panel.shape, np.uint8)
    base = (round(line * 1.25), round(line * 0.72))
    cv2.putText(weight, name, base, FONT, scale, (255, 255, 255), thickness, cv2.LINE_AA)
    share = weight.astype(np.float32) / 255
    panel[:] = np.rint(panel * (1 - share) + np.array(TEXT_BGR, np.float32) * share).astype(np.uint8)
    keep[:] = np.rint(keep * (1 - share)).astype(np.uint8)


def _width(text: str, scale: float, thickness: int) -> int:
    return int(cv2.getTextSize(text, FONT, scale, thickness)[0][0])
