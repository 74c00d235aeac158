"""Label maps in a folder: the values are the classes, whatever is composited."""

from pathlib import Path

import cv2
import numpy as np

from pipeline.sinks import sink_from_text
from tests.pipeline.effects.scenes import street_scene
from tests.pipeline.sinks import feed


def test_label_maps_are_the_class_of_every_pixel(tmp_path: Path) -> None:
    """One channel, frame size, values 0 to 3: what training reads as a mask."""
    scene = street_scene(160, 96)
    sink = sink_from_text(f"masks:{tmp_path / 'masks'}").open(scene.format, pacing="lossless", announce=feed.ignore)

    sink.accept(feed.shown(8, 160, 96, matte=scene.matte.copy()))
    sink.close()

    label_map = cv2.imread(str(tmp_path / "masks" / "000007.png"), cv2.IMREAD_UNCHANGED)
    assert sink.needs_matte
    np.testing.assert_array_equal(label_map, scene.matte.labels)
    assert np.unique(label_map).tolist() == [0, 1, 2, 3]
