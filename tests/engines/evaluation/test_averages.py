"""Averages over scales and mirrors, and the way back of logits."""

import numpy as np
import pytest

from engines.evaluation.segmenters import Averaged, Refined, brought_back, label_map_of, softmax
from engines.geometry import Geometry

CLASSES = ("background", "square")


class Says:
    """Gives the same logits whatever it sees, or what it sees."""

    protocol = "P1"
    classes = CLASSES

    def __init__(self, margin: float | None) -> None:
        self.margin = margin

    def logits(self, image_bgr: np.ndarray) -> np.ndarray:
        seen = image_bgr[..., 2].astype(np.float32) / 50 - 2
        margin = seen if self.margin is None else np.full(seen.shape, self.margin, np.float32)
        return np.stack([-margin / 2, margin / 2], axis=-1)


def _probability(logits: np.ndarray) -> np.ndarray:
    return softmax(logits.transpose(2, 0, 1))[1]


def test_probabilities_are_averaged_not_logits() -> None:
    """A sure one does not outvote an unsure one beyond its probability: (0.999 + 0.25) / 2."""
    image = np.zeros((4, 5, 3), np.uint8)
    sure, unsure = Says(float(np.log(999))), Says(float(np.log(1 / 3)))

    averaged = Averaged([sure, unsure], flips=False, named="(x 0.5, x 1)")

    np.testing.assert_allclose(_probability(averaged.logits(image)), (0.999 + 0.25) / 2, rtol=1e-5)
    assert averaged.protocol == "P1 (x 0.5, x 1)"


def test_the_mirrored_answer_is_mirrored_back() -> None:
    """A segmenter that treats left and right alike gives the same with flips."""
    image = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)
    plain = Says(None)

    flipped = Averaged([plain], flips=True, named="(flip)")

    np.testing.assert_allclose(_probability(flipped.logits(image)), _probability(plain.logits(image)), atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 3, 21])
def test_the_label_is_the_first_largest_logit(n_classes: int) -> None:
    """As argmax says, also where two are equal."""
    logits = np.random.default_rng(1).integers(-2, 3, (n_classes, 15, 17)).astype(np.float32)

    np.testing.assert_array_equal(label_map_of(logits), logits.argmax(axis=0))


def test_bars_are_cut_before_the_frame_is_enlarged() -> None:
    """What lies in the bars never reaches the picture's rim."""
    logits = np.zeros((2, 4, 8), np.float32)
    logits[1, :, :2] = logits[1, :, 6:] = 1000
    logits[0, :, 2:6] = 1

    planes = brought_back(logits, (16, 32), Geometry(12, 0, 8, 16), 32, 16)

    assert planes.shape == (2, 32, 16)
    assert not label_map_of(planes).any()


@pytest.mark.crf
def test_the_crf_pulls_a_label_to_the_edge_of_the_picture() -> None:
    """A blurred answer over a sharp square becomes sharper, for three classes as for two."""
    pytest.importorskip("pydensecrf", reason="needs pydensecrf (pip install 'segstream[crf]')")
    image = np.full((32, 32, 3), 40, np.uint8)
    image[8:24, 8:24] = (30, 30, 220)
    truth = (image[..., 2] == 220).astype(np.uint8)

    class Blurred:
        protocol, classes = "P1", ("background", "square", "other")

        def logits(self, image_bgr: np.ndarray) -> np.ndarray:
            is_inside = np.zeros((32, 32), np.float32)
            is_inside[6:26, 6:26] = 1
            margin = is_inside * 2 - 1
            return np.stack([-margin, margin * 0.8, np.full_like(margin, -3)], axis=-1)

    refined = Refined(Blurred(), "crf-readme")
    before = label_map_of(Blurred().logits(image).transpose(2, 0, 1))
    after = label_map_of(refined.logits(image).transpose(2, 0, 1))

    assert (after == truth).mean() > (before == truth).mean()
    assert refined.protocol == "P1 CRF(crf-readme)"
