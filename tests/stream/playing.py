"""Plays a whole stream with real processes in a test: a config in, the report and the supervisor's memory out."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from configs import load
from engines.runtime.fake_engine import SHAPE_BGR
from pipeline.config import RunConfig
from pipeline.frame import StreamFormat
from pipeline.report import report_of
from pipeline.run import prepare
from pipeline.sources.synthetic import shape_mask
from pipeline.supervisor import Supervisor

FAULTS = "tests.stream.faults"
PLAINLY = {"edges": "linear"}
"""Masks as the engine gave them, so that every pixel of a picture can be told beforehand."""
CHAIN = ("capture", "preprocess", "segment", "render")


@dataclass
class Played:
    """What a test looks at afterwards."""

    report: dict[str, Any]
    error: BaseException | None = None
    free_slots: list[int] = field(default_factory=list)

    @property
    def frames(self) -> dict[str, Any]:
        """Captured, shown, dropped."""
        return self.report["frames"]

    @property
    def events(self) -> list[str]:
        """What happened, in order."""
        return [event["what"] for event in self.report["events"]]


def play(
    source: str,
    *sinks: str,
    watch: Callable[[Supervisor], None] | None = None,
    raises: type[BaseException] | None = None,
    stages: tuple[str, ...] = CHAIN,
    **options: Any,
) -> Played:
    """Run one stream to its end in this process's main thread.

    Args:
        source: as on the command line.
        sinks: as on the command line; none means `null`.
        watch: called by the supervisor's loop, to look or to interfere.
        raises: an error that is expected; it is kept in `error`.
        stages: one worker each.
        options: of `RunConfig`.
    """
    tree = {"engine": "fake@320x180", "effect": "cutout:green", "matte": PLAINLY, **options}
    overrides = [f"{key}={_yaml(value)}" for key, value in tree.items()]
    overrides.append(f"streams={_yaml([{'source': source, 'sinks': list(sinks or ('null',))}])}")
    if "workers" not in options:
        overrides.append(f"workers={_yaml([[stage] for stage in stages])}")
    supervisor = Supervisor(prepare(load(RunConfig, None, overrides)), watch or (lambda _: None))
    error: BaseException | None = None
    try:
        try:
            supervisor.run()
        except BaseException as caught:
            if raises is None or not isinstance(caught, raises):
                raise
            error = caught
        played = Played(report_of(supervisor, None), error)
        captures = {w.index + 1 for w in supervisor.run_plan.topology.workers if "capture" in w.stages}
        for pool in supervisor.pools.values():
            played.free_slots += [slot for slot in range(pool.n_slots) if pool.owner(slot) >> 16 in captures]
        return played
    finally:
        supervisor.close()


def pictures(folder: Path) -> dict[int, np.ndarray]:
    """What a `frames:` sink wrote, by sequence number."""
    paths = sorted(folder.glob("*.png"))
    return {int("".join(filter(str.isdigit, path.stem))): cv2.imread(str(path)) for path in paths}


def assert_own_masks(shown: dict[int, np.ndarray], format: StreamFormat, speed_px_s: float) -> None:
    """Each picture, cut out on black, is the one computed from its number: the mask on it is its own."""
    for sequence, picture in shown.items():
        wanted = np.zeros_like(picture)
        wanted[shape_mask(sequence, format, speed_px_s=speed_px_s)] = SHAPE_BGR
        assert np.array_equal(picture, wanted), f"frame {sequence}"


def _yaml(value: Any) -> str:
    import json

    return json.dumps(value)
