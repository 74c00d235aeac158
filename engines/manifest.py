"""The JSON beside an engine's graphs: which there are, how good, how fast, made from what.

A manifest lists several graphs (sizes, precisions); an `EngineSpec` is one of them, resolved and ready to open. The
trap: differences and certificates hold for that very file; whoever writes a graph again writes a new entry for it.
"""

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from configs import Options
from engines.crf import CrfParams
from engines.size import Size
from engines.spec import Meaning, Palette, ResizeRule, graph_label

__all__ = [
    "SCHEMA_VERSION",
    "Calibration",
    "Certificate",
    "CrfGain",
    "CrfSetting",
    "Difference",
    "Graph",
    "Manifest",
    "sha256_of",
]

SCHEMA_VERSION = 3
"""3 adds `any_batch` to a graph; 2 added `batch`, `difference`, `calibration` and `certified`, `weights`, and settings
to `crf`. Older ones are still read."""


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


class CrfSetting(CrfParams):
    """The dense CRF that `--crf auto` runs after this engine; widths are in pixels of the engine's input."""

    iterations: int = Field(5, ge=1, le=50)
    """Steps of mean field."""
    method: Literal["fast", "exact", "reference"] = "fast"
    """As in `engines.crf.METHODS`."""

    @property
    def params(self) -> CrfParams:
        """Weights and widths alone."""
        return CrfParams(**{name: getattr(self, name) for name in CrfParams.model_fields})

    @property
    def label(self) -> str:
        """`fast w1 4 sigma 67/3 w2 3/1, 5 iterations`."""
        kernels = f"w1 {self.w1:g} sigma {self.sigma_alpha:g}/{self.sigma_beta:g} w2 {self.w2:g}/{self.sigma_gamma:g}"
        return f"{self.method} {kernels}, {self.iterations} iteration{'' if self.iterations == 1 else 's'}"


class CrfGain(Options):
    """What `tune-crf` found, on pictures that it did not search on: the best setting less no CRF."""

    data: str
    """Data set, as `person/val ccp_*`."""
    images: int = Field(gt=0)
    """Pictures the gain was confirmed on; as many were searched on."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    """Of the graph's input: widths in pixels mean something else at another size."""
    miou: float
    """Gain of mIoU, -1 to 1."""
    miou_interval: tuple[float, float]
    """95 %, paired over pictures."""
    boundary_f: float
    """Gain of boundary F at 2 px."""
    boundary_f_interval: tuple[float, float]
    """95 %, paired over pictures."""

    @property
    def size(self) -> Size:
        """(width, height)."""
        return Size(self.width, self.height)

    @property
    def label(self) -> str:
        """`mIoU +0.41 points (95 %: +0.22 to +0.60) on 20 pictures of person/val ccp_*`."""
        low, high = self.miou_interval
        return (
            f"mIoU {100 * self.miou:+.2f} points (95 %: {100 * low:+.2f} to {100 * high:+.2f}) "
            f"on {self.images} pictures of {self.data}"
        )


class Graph(Options):
    """One ONNX file of an engine."""

    file: str
    """Name of the file, beside the manifest."""
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    batch: int = Field(1, gt=0)
    """Pictures a call, fixed; a stream takes graphs of 1."""
    any_batch: bool = False
    """The batch axis is open (`batch` is 1): several streams may share a call."""
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
        """`512x288 fp32`; `x4` follows for a batch of four, `xN` where the batch axis is open."""
        return graph_label(self.size, self.precision, self.batch, self.any_batch)


class Manifest(Options):
    """The JSON beside the graphs: `<name>.json`."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1, le=SCHEMA_VERSION)
    name: str
    task: str = "semantic segmentation"
    classes: tuple[str, ...]
    palette: Palette
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
    crf: CrfSetting | Literal["none"] = "none"
    """What `--crf auto` does; "none" (or null): no CRF, because it does not help, or because nobody asked."""
    crf_gain: CrfGain | None = None
    """What `tune-crf` measured, whatever it decided; None: nobody asked."""

    @field_validator("crf", mode="before")
    @classmethod
    def _null_is_none(cls, crf: Any) -> Any:
        return "none" if crf is None else crf

    @model_validator(mode="after")
    def _consistent(self) -> "Manifest":
        _ = self.meaning  # refuses what cannot be
        if not self.graphs:
            raise ValueError("lists no graphs")
        return self

    @property
    def meaning(self) -> Meaning:
        """What the graphs' numbers stand for."""
        return Meaning(self.classes, self.palette, self.subject, self.resize)


def sha256_of(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
