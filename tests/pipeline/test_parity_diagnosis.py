"""A difference between tensors gets its name, also when the mistake was made far from the tensor."""

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.geometry import fit, tensor_of
from engines.names import resolve
from engines.runtime.fake_engine import fake_spec
from engines.spec import EngineSpec, InputSpec, ResizeRule
from pipeline.parity.diagnosis import Sample, by_labels, by_tensors, shift_of
from pipeline.parity.reference import Reference
from pipeline.sources import source_from_uri
from tests.engines.runtime.graphs import write_engine
from tests.pipeline.effects.scenes import busy_image
from tests.pipeline.sources.clips import BT601, FULL, LIMITED, images

SPEC = fake_spec("fake@96x64")
WIDTH, HEIGHT = 150, 130


def _samples(seen_of: object, spec: EngineSpec = SPEC) -> list[Sample]:
    """Three busy pictures, and what `seen_of(image_bgr, expected tensor)` makes of them."""
    assert callable(seen_of)
    images = [cv2.GaussianBlur(busy_image(WIDTH, HEIGHT, seed), (5, 5), 1.2) for seed in range(3)]
    tensors = [tensor_of(image, spec.input) for image in images]
    return [
        Sample(image, tensor, seen_of(image, tensor), neighbours=(tensors[number - 1],))
        for number, (image, tensor) in enumerate(zip(images, tensors, strict=True))
    ]


def _stretched(image_bgr: NDArray[np.uint8], _: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.resize(image_bgr, SPEC.input.size), np.uint8)


def _by_area(image_bgr: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.uint8]:
    geometry = fit(HEIGHT, WIDTH, SPEC.input)
    seen = expected.copy()
    geometry.crop(seen)[...] = cv2.resize(image_bgr, (geometry.width, geometry.height), interpolation=cv2.INTER_AREA)
    return seen


def _other_luma(image_bgr: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Written as BT.709, read as BT.601: the usual mistake with untagged HD."""
    blue, green, red = (image_bgr[..., i].astype(np.float64) for i in range(3))
    luma = 0.0722 * blue + 0.7152 * green + 0.2126 * red
    u, v = (blue - luma) / 1.8556, (red - luma) / 1.5748
    read = np.stack([luma + 1.772 * u, luma - 0.344136 * u - 0.714136 * v, luma + 1.402 * v], axis=-1)
    return tensor_of(np.clip(np.rint(read), 0, 255).astype(np.uint8), SPEC.input)


@pytest.mark.parametrize(
    ("fault", "seen_of"),
    [
        ("bgr-swap", lambda image, _: tensor_of(np.ascontiguousarray(image[..., ::-1]), SPEC.input)),
        ("limited-range", lambda image, _: tensor_of(np.uint8(np.rint(image * (219 / 255) + 16)), SPEC.input)),
        ("full-range", lambda image, _: tensor_of(np.uint8(np.clip((image - 16.0) * 255 / 219, 0, 255)), SPEC.input)),
        ("colour-matrix", _other_luma),
        ("resize-rule", _stretched),
        ("interpolation", _by_area),
    ],
)
def test_a_mistake_is_told_by_its_name(fault: str, seen_of: object) -> None:
    """Each is made on the picture, before the resize, and recognised on the tensor."""
    diagnosis = by_tensors(_samples(seen_of), SPEC)

    assert diagnosis.fault == fault
    assert diagnosis.explained > 0.7


def test_a_picture_too_late_is_told_apart_from_a_wrong_one() -> None:
    """The tensor is that of the picture before: a frame was lost or came twice."""
    samples = _samples(lambda _, tensor: tensor)
    late = [Sample(s.image_bgr, s.expected, s.neighbours[0], s.neighbours) for s in samples]

    assert by_tensors(late, SPEC).fault == "wrong-frame"


@pytest.mark.parametrize("shift", [(0.5, 0.0), (-0.25, 0.25), (0.0, -0.5)])
def test_a_shift_is_measured(shift: tuple[float, float]) -> None:
    """Corner-based sampling moves the picture by a fraction of a pixel; how far is told within a twentieth."""

    def moved(image_bgr: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.uint8]:
        geometry = fit(HEIGHT, WIDTH, SPEC.input)
        scale = WIDTH / geometry.width
        matrix = np.array([[1, 0, shift[0] * scale], [0, 1, shift[1] * scale]], np.float32)
        return tensor_of(
            np.asarray(cv2.warpAffine(image_bgr, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), np.uint8),
            SPEC.input,
        )

    samples = _samples(moved)

    assert by_tensors(samples, SPEC).fault == "half-pixel"
    assert shift_of(samples[0], SPEC.input) == pytest.approx(shift, abs=0.05)


def test_what_no_known_mistake_explains_is_called_unknown() -> None:
    """Noise gets no name, only its size."""
    rng = np.random.default_rng(3)

    diagnosis = by_tensors(_samples(lambda _, tensor: rng.integers(0, 256, tensor.shape, dtype=np.uint8)), SPEC)

    assert diagnosis.fault == "unknown"
    assert "levels on average" in str(diagnosis)


def test_a_clip_tagged_with_the_wrong_range_is_recognised(tmp_path: Path) -> None:
    """A camera that sends limited range and says full: the real decoder is told a lie, the tensors tell."""
    true, lying = (images(source_from_uri(str(_clip(tmp_path, tag))).open()) for tag in (LIMITED, FULL))
    samples = [Sample(a, tensor_of(a, SPEC.input), tensor_of(b, SPEC.input)) for a, b in zip(true, lying, strict=True)]

    assert by_tensors(samples, SPEC).fault == "limited-range"


def test_a_graph_with_its_channels_exchanged_is_recognised_by_its_labels(tmp_path: Path) -> None:
    """The tiny graph looks at blue; a network that looks at red has the channels the other way round."""
    spec = resolve(write_engine(tmp_path, sizes=((96, 64),)))
    pictures = [busy_image(96, 64, seed) for seed in range(2)]
    with Reference(spec) as reference:
        swapped = [reference.expected(np.ascontiguousarray(image[..., ::-1])).label_map for image in pictures]

        diagnosis = by_labels(list(zip(pictures, swapped, strict=True)), reference)

    assert diagnosis.fault == "bgr-swap"
    assert diagnosis.explained == 1.0


def test_the_rule_of_the_input_is_obeyed() -> None:
    """A stretched engine has no bars, so its tensors are compared whole."""
    spec = EngineSpec(
        SPEC.name, SPEC.path, InputSpec(64, 96, ResizeRule.STRETCH), SPEC.output, SPEC.palette, SPEC.precision
    )

    samples = _samples(lambda image, _: tensor_of(image, SPEC.input), spec)

    assert by_tensors(samples, spec).fault == "resize-rule"


def _clip(folder: Path, tag: int) -> Path:
    """Three busy pictures in limited range, tagged as told."""
    path = folder / f"{tag}.mkv"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv444p"
        stream.codec_context.colorspace, stream.codec_context.color_range = BT601, tag
        for seed in range(3):
            frame = av.VideoFrame.from_ndarray(busy_image(WIDTH, HEIGHT, seed), format="bgr24")
            limited = frame.reformat(format="yuv444p", dst_colorspace=BT601, dst_color_range=LIMITED, threads=1)
            limited.color_range = tag
            container.mux(stream.encode(limited))
        container.mux(stream.encode(None))
    return path
