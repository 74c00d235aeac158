"""From a served fp32 graph to the same graph in another precision. Works without torch.

The fp32 graph is exported once and checked against the network; fp16, bf16 and int8 are made of it, so their
batch norms were folded in full precision. The trap: what it costs is told here as a difference of logits and labels,
which says little of quality; `certify` measures that, and time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.data.pairs import IMAGE_SUFFIXES, read_image
from engines.errors import DataError, ExportError
from engines.export.difference import Answer, answers_of_graph, difference_of, stacked
from engines.export.quantise.ranges import Method
from engines.geometry import tensor_of
from engines.manifest import Calibration, Graph, sha256_of
from engines.size import Size
from engines.spec import InputSpec, Precision

if TYPE_CHECKING:
    import onnx

__all__ = ["CalibrationSet", "Samples", "derived_graph", "file_of", "pictures_of"]

N_SAMPLES = 10


@dataclass(frozen=True)
class CalibrationSet:
    """The real pictures that an int8 graph's ranges come from."""

    folder: Path
    prefix: str = ""
    n_pictures: int = 64
    """Spread evenly over the folder."""
    method: Method = "mse"


@dataclass(frozen=True)
class Samples:
    """What graph and network are compared on, and what the network said."""

    batches_bgr: Sequence[NDArray[np.uint8]]
    expected: Sequence[Answer]
    is_noise: bool


def derived_graph(
    fp32: Path,
    precision: Precision,
    path: Path,
    spec: InputSpec,
    samples: Samples,
    calibration: CalibrationSet | None = None,
) -> Graph:
    """Write the graph in another precision, beside a report of how far it is from the expected answers.

    Args:
        fp32: a served graph in float32.
        path: the `.onnx` to write; replaced only when the new file has been run.
        spec: the size and the resize rule of the graph.

    Returns:
        The graph's entry for a manifest.

    Raises:
        ExportError: int8 without pictures to calibrate on, or numbers beyond the precision's range.
        DataError: the calibration's folder cannot be used.
    """
    import onnx

    graph = onnx.load(fp32)
    calibrated: Calibration | None = None
    if precision == "int8":
        graph, calibrated = _quantised(graph, spec, calibration, path)
    elif precision != "fp32":
        from engines.export.lower import lowered

        graph = lowered(graph, precision)
    for entry in graph.metadata_props:
        if entry.key == "precision":
            entry.value = precision
    onnx.checker.check_model(graph, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial.onnx")
    try:
        onnx.save(graph, partial)
        found = answers_of_graph(partial, samples.batches_bgr)
        difference = difference_of(found, samples.expected, is_noise=samples.is_noise)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return Graph(
        file=path.name,
        width=spec.width,
        height=spec.height,
        batch=_batch_of(graph),
        precision=precision,
        sha256=sha256_of(path),
        difference=difference,
        calibration=calibrated,
    )


def pictures_of(folder: Path, spec: InputSpec, n: int = N_SAMPLES, prefix: str = "") -> Iterator[NDArray[np.uint8]]:
    """`n` of a folder's pictures, spread evenly, (height, width, 3) at the engine's size by its resize rule.

    Args:
        folder: holds .jpg or .png files, or a folder `images` with them.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with .jpg or .png images")
    place = folder / "images" if (folder / "images").is_dir() else folder
    paths = sorted(
        path for path in place.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.name.startswith(prefix)
    )
    if not paths:
        raise DataError(f"{place}: holds no .jpg or .png" + (f" whose name begins with {prefix!r}" if prefix else ""))
    for index in range(min(n, len(paths))):
        yield tensor_of(read_image(paths[index * len(paths) // min(n, len(paths))]), spec)


def file_of(name: str, size: Size, precision: Precision, batch: int = 1, *, any_batch: bool = False) -> str:
    """`person-512x288-int8.onnx`; `-x4` stands before the precision for a batch of four, `-xN` for any."""
    taken = "-xN" if any_batch else f"-x{batch}" if batch > 1 else ""
    return f"{name}-{size}{taken}-{precision}.onnx"


def _quantised(
    graph: "onnx.ModelProto", spec: InputSpec, calibration: CalibrationSet | None, path: Path
) -> tuple["onnx.ModelProto", Calibration]:
    if calibration is None:
        raise ExportError(f"{path.name}: int8 is calibrated on real pictures; name a folder of them with --calib DIR")
    from engines.export.quantise import quantised

    pictures = list(pictures_of(calibration.folder, spec, calibration.n_pictures, calibration.prefix))
    graph, n_pictures = quantised(graph, stacked(pictures, _batch_of(graph)), calibration.method)
    place = calibration.folder.resolve()
    data = f"{place.parent.name}/{place.name} {calibration.prefix}".strip()
    return graph, Calibration(images=min(n_pictures, len(pictures)), method=calibration.method, data=data)


def _batch_of(graph: "onnx.ModelProto") -> int:
    return int(graph.graph.input[0].type.tensor_type.shape.dim[0].dim_value)
