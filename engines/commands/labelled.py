"""`--data DIR --format ... --split ... --prefix ...`: pictures with labels, as several commands take them.

The trap: a clip is streamed from its file here, frame by frame; the trainer's own clips lie in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engines.errors import DataError

if TYPE_CHECKING:
    from engines.data.pairs import Pair

__all__ = ["FORMAT_NAMES", "Labelled", "data_options"]

FORMAT_NAMES = ("folder", "voc", "cityscapes", "camvid", "coco", "clip", "frames", "shapes")
"""As `engines.data.datasets.Format`, without importing OpenCV for `--help`."""
WITH_SPLITS = ("voc", "cityscapes", "camvid", "coco", "shapes")
GENERATED = "shapes"
DEFAULT_SPLIT = "val"

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Labelled:
    """Which pictures a command was asked for."""

    path: Path
    data_format: str | None
    split: str | None
    prefix: str
    every: int
    limit: int | None
    is_unlabelled: bool
    """A clip shows whatever it shows; otherwise all of it is class 0."""

    @property
    def title(self) -> str:
        """`../data/person/val ccp_*`, as a table names it."""
        parts = [
            "" if self.path == Path() else str(self.path),
            self.data_format or "",
            self.split or "",
            f"{self.prefix}*" if self.prefix else "",
        ]
        parts.append(f"every {self.every}." if self.every > 1 else "")
        return " ".join(filter(None, parts))

    @property
    def name(self) -> str:
        """`val ccp_*`, as a manifest names it: without its place on a disk."""
        place = self.data_format if self.path == Path() else self.path.resolve().name
        return " ".join(filter(None, (place, self.split, f"{self.prefix}*" if self.prefix else "")))

    def as_json(self) -> dict[str, Any]:
        """For the JSON of scores; no more than was asked for."""
        return {
            "data": str(self.path),
            "format": self.data_format or "folder",
            "split": self.split or "",
            "prefix": self.prefix,
            "every": self.every,
        }

    def open(self, classes: tuple[str, ...]) -> "tuple[Iterable[Pair], int | None]":
        """The pictures, and how many there are where that is known before reading.

        Raises:
            DataError: nothing there, half a pair, or other classes than `classes`.
        """
        from engines.data.datasets import DatasetOptions, Format, open_dataset

        if self.is_clip:
            if self.prefix or self.split:
                raise DataError(f"{self.path}: a clip has neither splits nor prefixes")
            return islice(self._frames(), self.limit), None
        if not self.path.exists():
            raise DataError(f"{self.path}: no such folder; expected a data set, as named by --format")
        path, split = self.path, self.split or ""
        if self.data_format in WITH_SPLITS:
            split = split or DEFAULT_SPLIT
        elif split:
            path, split = path / split, ""
        options = DatasetOptions(
            path=path,
            format=None if self.data_format is None else Format(self.data_format),
            split=split,
            prefix=self.prefix,
            every=self.every,
        )
        dataset = open_dataset(options, classes)
        if self.limit is None or self.limit >= len(dataset):
            return dataset, len(dataset)
        from engines.data.views import Part

        return Part(dataset, range(self.limit)), self.limit

    @property
    def is_ordered(self) -> bool:
        """Whether neighbours are frames of one video, as far as the format tells."""
        return self.is_clip or self.data_format == "frames"

    @property
    def is_clip(self) -> bool:
        """Whether it is a video file."""
        return self.data_format == "clip" or (self.data_format is None and self.path.is_file())

    def _frames(self) -> "Iterator[Pair]":
        import numpy as np

        from engines.data import IGNORE
        from engines.data.formats.clip import clip_frames
        from engines.data.pairs import Pair

        if not self.path.is_file():
            raise DataError(f"{self.path}: no such file; expected a video clip")
        label = IGNORE if self.is_unlabelled else 0
        for index, image_bgr in enumerate(clip_frames(self.path, self.every)):
            label_map = np.full(image_bgr.shape[:2], label, np.uint8)
            yield Pair(f"{self.path.stem}_{index * self.every:05d}", image_bgr, label_map)


def data_options(command: Command) -> Command:
    """Adds the options to a command, which receives them as `labelled`."""
    from functools import wraps

    @click.option("--data", type=click.Path(path_type=Path), help="A folder, a video file, or COCO's annotations.")
    @click.option(
        "--format", "data_format", type=click.Choice(FORMAT_NAMES), help="Default: folder, or clip for a file."
    )
    @click.option("--split", help="Part of the data set; default val where the format has splits.")
    @click.option("--prefix", default="", help="Only pictures whose name begins so.")
    @click.option("--every", type=click.IntRange(min=1), default=1, help="Only every n-th picture or frame.")
    @click.option("--limit", type=click.IntRange(min=1), help="At most so many pictures.")
    @click.option("--unlabelled", "is_unlabelled", is_flag=True, help="Of a clip: it is not all background.")
    @wraps(command)
    def wrapped(
        *args: Any,
        data: Path | None,
        data_format: str | None,
        split: str | None,
        prefix: str,
        every: int,
        limit: int | None,
        is_unlabelled: bool,
        **kwargs: Any,
    ) -> Any:
        if data is None and data_format != GENERATED:
            raise click.UsageError("--data is missing: a folder, a video, or COCO's annotation file")
        labelled = Labelled(data or Path(), data_format, split, prefix, every, limit, is_unlabelled)
        return command(*args, labelled=labelled, **kwargs)

    return wrapped  # type: ignore[return-value]  # what click gets has other arguments than the function
