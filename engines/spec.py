"""What an engine says of itself: input rule, outputs, classes, graphs, scores.

The trainer writes a `Manifest` once (`person.json`); the stream, `evaluate` and `predict` obey it,
so they cannot disagree. A manifest lists several graphs (sizes, precisions); an `EngineSpec` is one
of them, resolved and ready to open. Colour order and normalisation live inside the graph: every
graph takes uint8 NHWC BGR. The trap: differences and certificates hold for that very file; whoever
writes a graph again writes a new entry for it.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from configs import Options
from engines.size import Size

__all__ = [
    "Calibration",
    "Certificate",
    "Difference",
    "EngineSpec",
    "Graph",
    "InputSpec",
    "Manifest",
    "OutputSpec",
    "Precision",
    "ResizeRule",
    "sha256_of",
]

LOGITS_STRIDE = 4
"""The decoder works at a quarter of the input; its logits leave the graph there."""

INPUT_NAME = "image_bgr"

SCHEMA_VERSION = 2
"""2 adds `batch`, `difference`, `calibration` and `certified` to a graph, and `weights`; 1 is still read."""

Precision = Literal["fp32", "fp16", "bf16", "int8"]
"""Of a graph's weights and arithmetic; decided when it is exported."""


class ResizeRule(StrEnum):
    """How a frame of any size is brought to the engine's size."""

    LETTERBOX = "letterbox"
    """Keep the aspect, centre, black bars."""
    STRETCH = "stretch"
    """Fill the input, whatever the aspect."""


@dataclass(frozen=True)
class InputSpec:
    """The tensor an engine takes: (batch, height, width, 3) uint8, BGR."""

    height: int
    width: int
    resize: ResizeRule = ResizeRule.LETTERBOX

    @classmethod
    def of(cls, size: Size, resize: ResizeRule = ResizeRule.LETTERBOX) -> Self:
        """For frames brought to that size."""
        return cls(size.height, size.width, resize)

    @property
    def size(self) -> Size:
        """(width, height)."""
        return Size(self.width, self.height)

    def shape(self, batch: int = 1) -> tuple[int, int, int, int]:
        """(batch, height, width, 3)."""
        return (batch, self.height, self.width, 3)


@dataclass(frozen=True)
class OutputSpec:
    """What a graph can give, each computed only when asked for.

    `logits` (batch, C, height/4, width/4) float32; `labels` (batch, height, width) uint8;
    `alpha` (batch, height, width) uint8, present when there is a subject.
    """

    classes: tuple[str, ...]
    subject: int | None
    """Index of the class that `alpha` cuts out; None for scenes without a subject."""

    @property
    def mask_planes(self) -> tuple[str, ...]:
        """The outputs that masks are made of: with two classes and a subject alpha against a half says it all."""
        if self.subject is None:
            return ("labels",)
        return ("alpha",) if len(self.classes) == 2 else ("alpha", "labels")

    @property
    def names(self) -> tuple[str, ...]:
        """The outputs of the graph, in its order."""
        return ("logits", "labels") if self.subject is None else ("logits", "alpha", "labels")


class Difference(Options):
    """How far a graph is from the network (or the fp32 graph) it was made from, both run in float32 on the CPU."""

    logits: float = Field(ge=0)
    """The largest difference of a logit."""
    labels: float = Field(ge=0, le=1)
    """Share of pixels with the same label."""
    images: int = Field(gt=0)
    """On how many pictures."""
    on: Literal["pictures", "noise"] = "pictures"
    """Noise where no pictures were given: then the figures say that the graph works, and little more."""


class Calibration(Options):
    """Where the ranges of an int8 graph come from."""

    images: int = Field(gt=0)
    """How many pictures."""
    method: str
    """How a range is chosen: `minmax`, `percentile` or `mse`; see `engines.export.quantise.ranges`."""
    data: str = ""
    """Name of the folder, without its place on a disk."""


class Certificate(Options):
    """What `certify` measured of one graph on one kind of machine, against the graph it may replace."""

    against: str
    """File of the reference graph; the graph itself for the reference's own certificate."""
    data: str
    """Data set, as `person/val ccp_*`."""
    images: int = Field(gt=0)
    """Pictures the mIoU was measured on (protocol P2)."""
    miou: float
    """Of this graph, 0 to 1."""
    miou_against: float
    """Of the reference, on the same pictures."""
    p50_ms: float = Field(gt=0)
    """Of one inference, the median over rounds."""
    p95_ms: float = Field(gt=0)
    """Of one inference, the median over rounds of each round's 95th percentile."""
    speedup: float = Field(gt=0)
    """The reference's time by this graph's, the median over interleaved rounds: load cancels out."""
    backend: str
    """What ran both: `OpenVINO 2026.4 bf16, 2 threads`."""


class Graph(Options):
    """One ONNX file of an engine."""

    file: str
    """Name of the file, beside the manifest."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    batch: int = Field(1, gt=0)
    """Pictures a call, fixed; a stream takes graphs of 1."""
    precision: str = "fp32"
    """fp32, fp16, bf16 or int8; decided when the graph was exported."""
    sha256: str
    """Of the file: a graph that does not match is refused."""
    scores: dict[str, float] = {}
    """`protocol/data set/measure` to value, such as `P2/ccp/iou_person`."""
    difference: Difference | None = None
    """From what it was made from; None in manifests of schema 1."""
    calibration: Calibration | None = None
    """Of an int8 graph."""
    certified: dict[str, Certificate] = {}
    """Kind of machine (`engines.machine.machine_kind`) to what was measured there."""

    @property
    def size(self) -> Size:
        """(width, height)."""
        return Size(self.width, self.height)

    @property
    def label(self) -> str:
        """`512x288 fp32`; `x4` follows for a batch of four."""
        return _label(self.size, self.precision, self.batch)


class Manifest(Options):
    """The JSON beside the graphs: `<name>.json`."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str
    task: str = "semantic segmentation"
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    """One (R, G, B) a class."""
    subject: str | None = None
    """The class that `alpha` cuts out."""
    resize: ResizeRule = ResizeRule.LETTERBOX
    normalisation: str = "x / 127.5 - 1, RGB"
    """For people: the arithmetic itself is inside the graph."""
    model: str = ""
    """The network in words: `v3plus, mobilenet_v2, output stride 16`."""
    weights: str = ""
    """Fingerprint of the checkpoint's weights: graphs of the same weights may be added to the list."""
    graphs: tuple[Graph, ...]
    default_graph: str = ""
    """File of the graph taken when neither size nor precision is asked for; empty: the first."""
    scores: dict[str, float] = {}
    """Of the checkpoint (protocol P1)."""
    trained_on: tuple[str, ...] = ()
    licences: tuple[str, ...] = ()
    crf: str = "none"

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        if len(self.palette) != len(self.classes):
            raise ValueError(f"palette has {len(self.palette)} colours for {len(self.classes)} classes")
        if self.subject is not None and self.subject not in self.classes:
            raise ValueError(f"subject {self.subject!r} is not one of the classes {list(self.classes)}")
        if not self.graphs:
            raise ValueError("lists no graphs")
        return self


@dataclass(frozen=True)
class EngineSpec:
    """One graph of one manifest, resolved: all that is needed to open it."""

    name: str
    path: Path
    input: InputSpec
    output: OutputSpec
    palette: tuple[tuple[int, int, int], ...]
    precision: str
    sha256: str = ""
    batch: int = 1

    @property
    def label(self) -> str:
        """`person 512x288 fp32`, as logs and reports name it; `x4` follows for a batch of four."""
        return f"{self.name} {_label(self.input.size, self.precision, self.batch)}"

    def output_shape(self, output: str, batch: int | None = None) -> tuple[int, ...]:
        """Shape of one output, for the graph's own batch unless told; see `OutputSpec` for the types."""
        batch = batch or self.batch
        height, width = self.input.height, self.input.width
        if output == "logits":
            return (batch, len(self.output.classes), height // LOGITS_STRIDE, width // LOGITS_STRIDE)
        if output in self.output.names:
            return (batch, height, width)
        raise KeyError(f"{self.label} has no output {output!r}; it has {', '.join(self.output.names)}")

    def output_dtype(self, output: str) -> str:
        """NumPy's name of the output's type."""
        return "float32" if output == "logits" else "uint8"


def _label(size: Size, precision: str, batch: int) -> str:
    return f"{size} {precision}" + (f" x{batch}" if batch > 1 else "")


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
