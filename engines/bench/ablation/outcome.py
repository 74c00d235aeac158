"""What one training of an ablation came to: a small JSON file, without weights.

The tables are made from the files that are there, so a run on another machine only has to hand over its files.
"""

from pathlib import Path

from pydantic import Field, ValidationError

from configs import Options
from engines.errors import EngineError

__all__ = ["Outcome", "Score", "outcomes_in"]


class Score(Options):
    """One way of scoring one network."""

    output_stride: int
    has_crf: bool
    has_scales: bool
    """Several scales and flips, averaged."""
    miou: float
    """Of 1; pooled over the pictures."""
    boundary_f: float
    """Of 1, at 2 px; mean over classes."""
    trimap_miou: dict[str, float] = {}
    """Of 1, by the band's width in pixels."""
    iou: dict[str, float | None]
    """By class; null where it does not occur."""
    ms_per_image: float
    """All in, on the machine that scored it."""


class Outcome(Options):
    """One row, one seed."""

    ablation: str
    row: str
    seed: int
    profile: str
    """`cpu` or `gpu`: rows of different profiles are never compared."""
    model: str
    """In words."""
    policy: str
    epochs: float
    steps: int
    crop_px: int
    size: str
    minutes: float | None
    """Of training; null when it was stopped in between."""
    final_loss: float | None
    """Mean of the last 20 steps; null when they were made in an earlier run."""
    machine: str
    scores: tuple[Score, ...] = Field(min_length=1)

    @property
    def file_name(self) -> str:
        """In `docs/ablation`."""
        return (
            f"{self.row}-{self.seed}.json" if self.profile == "cpu" else f"{self.row}-{self.seed}-{self.profile}.json"
        )

    def write(self, folder: Path) -> Path:
        """As a file of the folder; returns its path."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / self.file_name
        path.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return path


def outcomes_in(folder: Path) -> list[Outcome]:
    """Every outcome of a folder, in name order; none when there is no folder.

    Raises:
        EngineError: a file that is no outcome.
    """
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(Outcome.model_validate_json(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "file"
            raise EngineError(
                f"{path}: not an outcome of `bench ablation`: {place}: {first['msg']}; remove it"
            ) from error
    return found
