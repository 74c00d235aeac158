"""One image in, its mask out, at the image's own size."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import pytest

from engines import Segmentation, open_engine, segment_image
from engines.errors import EngineError, InputSizeError
from engines.names import known_engines, resolve
from engines.runtime import backend_reason
from engines.runtime.fake_engine import SHAPE_BGR
from engines.spec import OutputSpec
from tests.engines.runtime.graphs import write_engine

needs_openvino = pytest.mark.skipif(backend_reason("openvino") is not None, reason="needs openvino")


def _image(height: int, width: int) -> Any:
    """Grey, with a rectangle of the fake's colour from a quarter to three quarters of each side."""
    image = np.full((height, width, 3), 90, np.uint8)
    image[height // 4 : 3 * height // 4, width // 4 : 3 * width // 4] = SHAPE_BGR
    return image


@needs_openvino
def test_the_ten_lines_of_the_readme_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open by name, segment an image file, cut the subject out with a transparent background, write it."""
    write_engine(tmp_path / "engines" / "person", name="person", sizes=((64, 32),))
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photo.png", _image(64, 128))

    image = cv2.imread("photo.png")
    assert image is not None
    with open_engine("person") as engine:
        result = segment_image(engine, image)
    cv2.imwrite("cut.png", np.dstack([image, result.alpha]))

    cut = cv2.imread("cut.png", cv2.IMREAD_UNCHANGED)
    assert cut is not None
    assert tuple(cut[32, 64]) == (*SHAPE_BGR, 255)
    assert not cut[:12, :, 3].any()


@pytest.mark.parametrize("rule", ["letterbox", "stretch"])
@pytest.mark.parametrize("size", [(288, 512), (100, 300), (333, 127), (1080, 1920), (16, 16)])
def test_the_mask_lies_where_the_subject_lies(size: tuple[int, int], rule: str) -> None:
    """Whatever the aspect and the resize rule, the way back undoes the way in."""
    image = _image(*size)
    height, width = size
    with open_engine(f"fake@512x288?resize={rule}") as engine:
        result = segment_image(engine, image)

    assert result.alpha is not None
    assert result.alpha.shape == result.labels.shape == size
    truth = (image == SHAPE_BGR).all(axis=2)
    found = result.labels == 1
    # Two resizes move an edge by at most one pixel of the coarser grid, which is the engine's where it is smaller.
    scale = max(1.0, height / 288, width / 512)
    n_edge_pixels = 2 * (height // 2 + width // 2)
    assert np.count_nonzero(truth != found) <= n_edge_pixels * scale
    assert np.array_equal(found, result.alpha > 127)


def test_many_classes_keep_their_labels() -> None:
    """Labels of more than two classes are enlarged without inventing classes in between."""
    spec = resolve("fake@64x32")
    street = replace(spec, output=OutputSpec(("a", "b", "c", "d"), None))

    class FourStripes:
        """Labels in four stripes from left to right."""

        max_batch = 1
        outputs = ("logits", "labels")
        backend = choice = "stripes"

        def __init__(self) -> None:
            self.spec = street

        def __enter__(self) -> Self:
            return self

        def infer(self, inputs: Any, outputs: Any) -> None:
            outputs["labels"][0] = np.repeat(np.arange(4, dtype=np.uint8), 16)

        def __exit__(self, *exc: object) -> None:
            return None

    with FourStripes() as engine:
        result = segment_image(engine, np.zeros((64, 128, 3), np.uint8))

    assert result.alpha is None
    assert np.array_equal(result.labels, np.tile(np.repeat(np.arange(4, dtype=np.uint8), 32), (64, 1)))


def test_a_soft_alpha_gives_a_hard_mask() -> None:
    """OpenCV's `mask=` keeps a pixel of alpha 1 whole; the mask does not, and an engine without a subject has none."""
    alpha = np.array([[0, 1, 127, 128, 255]], np.uint8)

    assert Segmentation(alpha, alpha).mask.tolist() == [[0, 0, 0, 255, 255]]
    with pytest.raises(EngineError, match="no subject"):
        _ = Segmentation(None, alpha).mask


def test_results_are_the_callers_to_keep() -> None:
    """A second image does not change the result of the first."""
    with open_engine("fake@64x32") as engine:
        first = segment_image(engine, _image(32, 64))
        kept = first.labels.copy()
        segment_image(engine, np.zeros((32, 64, 3), np.uint8))

    assert np.array_equal(first.labels, kept)


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (None, "cv2.imread gives None"),
        (np.zeros((4, 4), np.uint8), "expected an image"),
        (np.zeros((4, 4, 4), np.uint8), "expected an image"),
        (np.zeros((4, 4, 3), np.float32), "expected an image"),
        (np.zeros((0, 4, 3), np.uint8), "expected an image"),
    ],
    ids=["no file", "grey", "with alpha", "float", "empty"],
)
def test_what_is_no_image_is_refused(image: Any, told: str) -> None:
    """The error says what was received, and why `cv2.imread` gives None."""
    with open_engine("fake@64x32") as engine, pytest.raises(InputSizeError, match=told):
        segment_image(engine, image)


def test_an_engine_without_the_needed_output_is_refused() -> None:
    """An engine that was opened for logits alone cannot give a mask."""
    with open_engine("fake@64x32", outputs=["logits"]) as engine, pytest.raises(EngineError, match="'labels' too"):
        segment_image(engine, _image(32, 64))


@needs_openvino
def test_the_engine_that_ships_finds_a_person(shared_data: Path) -> None:
    """On ten photographs of the validation set the person is found: nothing here says how well in general."""
    if not any(known.name == "person" and known.manifest for known in known_engines()):
        pytest.skip("needs engines/zoo/person")
    files = sorted((shared_data / "person" / "val" / "images").glob("ccp_*.jpg"))[:10]
    overlaps = []
    with open_engine("person") as engine:
        for file in files:
            image = cv2.imread(str(file))
            mask = cv2.imread(str(file.parents[1] / "masks" / f"{file.stem}.png"), cv2.IMREAD_GRAYSCALE)
            assert image is not None
            assert mask is not None
            found = segment_image(engine, np.asarray(image, np.uint8)).labels == 1
            overlaps.append(np.count_nonzero(found & (mask == 1)) / np.count_nonzero(found | (mask == 1)))

    # The shipped engine scores above 0.9 on the whole set; far below that means swapped colours or a shifted mask.
    assert np.mean(overlaps) > 0.85
