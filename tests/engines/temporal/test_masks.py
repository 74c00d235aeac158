"""Masks made of logits on the CPU are those of the graph."""

import numpy as np
import pytest

from engines.runtime import backend_reason, open_engine
from engines.spec import OutputSpec
from engines.temporal.masks import MaskWriter


@pytest.mark.skipif(backend_reason("onnxruntime") is not None, reason="needs onnxruntime")
def test_alpha_is_the_graphs_own():
    """Turning steadiness on must not move an edge by itself: one level of 255 is rounding."""
    rng = np.random.default_rng(0)
    with open_engine("person@256x256", backend="onnxruntime", n_threads=1) as engine:
        spec = engine.spec
        tensor_bgr = rng.integers(0, 255, spec.input.shape(), dtype=np.uint8)
        logits = np.empty(spec.output_shape("logits"), np.float32)
        alpha = np.empty(spec.output_shape("alpha"), np.uint8)
        engine.infer({"image_bgr": tensor_bgr}, {"logits": logits, "alpha": alpha})
    ours = np.empty_like(alpha[0])

    MaskWriter(spec.output).alpha(logits[0], ours)

    assert np.abs(ours.astype(int) - alpha[0].astype(int)).max() <= 1


def test_alpha_of_one_class_among_several_is_its_softmax():
    """Against the definition, at the corner points where nothing is interpolated."""
    output = OutputSpec(classes=("sky", "person", "tree"), subject=1)
    logits = np.zeros((3, 4, 4), np.float32)
    logits[1] = 1.0
    logits[2] = -2.0
    alpha = np.empty((16, 16), np.uint8)

    MaskWriter(output).alpha(logits, alpha)

    assert np.all(alpha == round(255 * np.exp(1) / (1 + np.exp(1) + np.exp(-2))))


def test_labels_are_the_largest_of_the_enlarged_planes():
    """Of equals the first, as argmax has it."""
    output = OutputSpec(classes=("a", "b", "c"), subject=None)
    logits = np.zeros((3, 8, 8), np.float32)
    logits[1, :, 4:] = 1.0
    logits[2, 6:] = 2.0
    labels = np.empty((32, 32), np.uint8)

    MaskWriter(output).labels(logits, labels)

    assert labels[0, 0] == 0
    assert labels[0, 31] == 1
    assert labels[31, 0] == labels[31, 31] == 2


def test_extreme_logits_stay_within_a_byte():
    """A margin of a thousand is sure, not an overflow."""
    output = OutputSpec(classes=("background", "person"), subject=1)
    logits = np.zeros((2, 2, 2), np.float32)
    logits[1] = [[1000.0, 1000.0], [-1000.0, -1000.0]]
    alpha = np.empty((8, 8), np.uint8)

    MaskWriter(output).alpha(logits, alpha)

    assert alpha[0, 0] == 255
    assert alpha[-1, 0] == 0
