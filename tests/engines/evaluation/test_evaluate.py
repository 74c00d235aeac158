"""One code path scores networks and engines, and protocols are told apart."""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from engines.data.datasets import Folder, Pair
from engines.errors import DataError, EngineMismatch
from engines.evaluation.compare import compare
from engines.evaluation.evaluate import P2Engine, evaluate
from engines.evaluation.segmenters import resized
from engines.runtime import Array
from engines.spec import EngineSpec, InputSpec, OutputSpec
from tests.engines.toy import CLASSES, PALETTE, picture, write_folder


class FindsRed:
    """An engine that finds the toy's red squares exactly, at stride 4."""

    backend = "fake"
    max_batch = 1

    def __init__(self, width: int = 256, height: int = 128) -> None:
        self.spec = EngineSpec(
            "red", Path("red"), InputSpec(height, width), OutputSpec(CLASSES, 1), PALETTE, "fp32", ""
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        image = inputs["image_bgr"][0].astype(np.float32)
        redness = image[..., 2] - image[..., 1] - 75
        height, width = redness.shape
        margin = redness.reshape(height // 4, 4, width // 4, 4).mean(axis=(1, 3))
        outputs["logits"][0] = np.stack([-margin, margin])


def test_an_engine_that_is_right_scores_high_at_the_masks_own_size(tmp_path: Path) -> None:
    """Letterboxed into 256x128 and back: only the rim at stride 4 is lost."""
    result = evaluate(P2Engine(FindsRed()), Folder(write_folder(tmp_path, 4), 2))

    assert result.protocol == "P2"
    assert result.scores.iou["square"] > 0.93
    assert result.scores.n_images == 4
    assert result.ms_per_image > 0


def test_bars_are_left_out_of_the_score() -> None:
    """Whatever an engine says about the bars, it is not in the picture."""

    class SaysBarsAreSquares(FindsRed):
        def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
            super().infer(inputs, outputs)
            outputs["logits"][0, 1, :, :16] = 1000.0
            outputs["logits"][0, 1, :, 48:] = 1000.0

    image = np.full((64, 64, 3), 100, np.uint8)

    label_map = P2Engine(SaysBarsAreSquares()).logits(image).argmax(axis=2)

    # The bars end at columns 64 and 192 of 256; bilinear enlargement lets them reach two pixels in.
    assert label_map.shape == (64, 64)
    assert not label_map[:, 3:-3].any()


def test_the_json_has_classes_by_name_and_null_for_what_never_occurs(tmp_path: Path) -> None:
    """A nan is not valid JSON; more keys can be added by the caller."""
    pair = Pair("empty", np.full((64, 64, 3), 100, np.uint8), np.zeros((64, 64), np.uint8))

    evaluate(P2Engine(FindsRed()), [pair]).write(tmp_path / "deep" / "scores.json", target="red")
    stored = json.loads((tmp_path / "deep" / "scores.json").read_text())

    assert stored["iou"] == {"background": 1.0, "square": None}
    assert stored["boundary_f"]["square"] is None
    assert stored["protocol"] == "P2"
    assert stored["target"] == "red"
    assert {"miou", "pixel_accuracy", "mean_boundary_f", "images", "ms_per_image"} <= stored.keys()


def test_recorded_scores_carry_protocol_and_data_set() -> None:
    """A figure without its protocol cannot be compared."""
    pair = Pair("empty", np.full((64, 64, 3), 100, np.uint8), np.zeros((64, 64), np.uint8))

    assert evaluate(P2Engine(FindsRed()), [pair]).recorded("P2/x") == {
        "P2/x/iou_background": 1.0,
        "P2/x/miou": 1.0,
    }


def test_nothing_to_evaluate_is_an_error() -> None:
    """A score over no picture would be read as one."""
    with pytest.raises(ValueError, match="no pictures"):
        evaluate(P2Engine(FindsRed()), [])


def test_resizing_keeps_half_pixel_centres() -> None:
    """Enlarging a ramp by four gives the ramp of half-pixel bilinear."""
    ramp = np.arange(4, dtype=np.float32)[None]

    wide = resized(ramp, 1, 16)

    expected = np.clip((np.arange(16) + 0.5) / 4 - 0.5, 0, 3)
    np.testing.assert_allclose(wide[0], expected, atol=1e-6)


class Listed:
    """A data set that is read by whoever asks for a picture."""

    names: tuple[str, ...] = ()
    classes = None

    def __init__(self, n: int) -> None:
        self.n = n
        self.readers: set[str] = set()

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Pair:
        self.readers.add(threading.current_thread().name)
        image, labels = picture(index)
        return Pair(f"toy_{index:03d}", image, labels)

    def __iter__(self) -> Iterator[Pair]:
        return (self[index] for index in range(self.n))


def test_threads_change_nothing_but_the_time() -> None:
    """One thread and four give the same scores and tell of the pictures in the same order."""
    told: list[list[str]] = []
    results = []
    for n_threads in (1, 4):
        names: list[str] = []
        found = evaluate(
            P2Engine(FindsRed()), Listed(9), watch=lambda s, n=names: n.append(s.pair.name), n_threads=n_threads
        )
        results.append(found.scores)
        told.append(names)

    assert results[0] == results[1]
    assert told[0] == told[1] == [f"toy_{index:03d}" for index in range(9)]


def test_a_data_set_is_read_by_the_scoring_threads_and_an_iterator_by_the_caller() -> None:
    """Decoding goes on beside inference wherever pictures can be asked for by number."""
    listed, iterated = Listed(4), Listed(4)

    evaluate(P2Engine(FindsRed()), listed, n_threads=2)
    evaluate(P2Engine(FindsRed()), iter(iterated), n_threads=2)

    assert all(name.startswith("score") for name in listed.readers)
    assert iterated.readers == {threading.current_thread().name}


def test_steadiness_is_measured_when_asked_for() -> None:
    """Frames of one clip; the JSON holds it under `temporal`."""
    image, labels = picture(1)
    clip = [Pair(f"clip_{index}", image, labels) for index in range(3)]

    steady = evaluate(P2Engine(FindsRed()), clip, metrics=("temporal",))
    other = evaluate(P2Engine(FindsRed()), clip, metrics=())

    assert steady.as_json()["temporal"]["n_pairs"] == 2
    assert steady.as_json()["temporal"]["flip_share"] == 0.0
    assert "temporal" not in other.as_json()


def test_an_error_in_one_picture_ends_the_evaluation() -> None:
    """A score over the readable rest would be read as one over all."""

    class Broken(Listed):
        def __getitem__(self, index: int) -> Pair:
            if index == 2:
                raise DataError("toy_002.png: not an image")
            return super().__getitem__(index)

    with pytest.raises(DataError, match="toy_002"):
        evaluate(P2Engine(FindsRed()), Broken(5))


def test_two_segmenters_are_compared_on_the_same_pictures() -> None:
    """A blind one against one that sees: it agrees where nothing is."""

    class Blind(P2Engine):
        def logits(self, image_bgr: np.ndarray) -> np.ndarray:
            return np.stack([np.ones(image_bgr.shape[:2]), np.zeros(image_bgr.shape[:2])], axis=2).astype(np.float32)

    seeing, blind = P2Engine(FindsRed()), Blind(FindsRed())
    done: list[int] = []

    found = compare(seeing, blind, Listed(5), watch=done.append).as_json()

    assert done == [1, 2, 3, 4, 5]
    assert found["iou"]["square"][1] == 0.0
    assert found["miou_difference"] < -0.3
    assert found["miou_difference_95"][1] < 0
    assert 0.5 < found["label_agreement"] < 0.95


def test_other_classes_cannot_be_compared() -> None:
    """Number 1 must mean the same for both."""
    other = P2Engine(FindsRed())
    other.classes = ("background", "circle")

    with pytest.raises(EngineMismatch, match="background, square against background, circle"):
        compare(P2Engine(FindsRed()), other, Listed(1))
