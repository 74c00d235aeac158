"""A network becomes an ONNX graph that a stream can feed with raw frames.

The graph takes uint8 NHWC BGR and holds the colour order and the normalisation; it gives `logits` at stride 4,
`alpha` and `labels` at full size. The traps: the input must feed a Cast directly and a uint8 output must be the
last Cast (TensorRT knows uint8 only there), and softmax at full size costs more than the decoder, so the
subject's margin is computed at stride 4 and only that one channel is upsampled, by two small matrix products
(OpenVINO's Resize of one channel took 3.6 ms of 24.7 at 512x288 in bf16, the products take 0.4; the bytes are
the same).
"""

import copy
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.errors import ExportError, InputSizeError
from engines.export.derive import Samples
from engines.export.difference import Answer, answers_of_graph, difference_of, noise, stacked
from engines.manifest import Graph, sha256_of
from engines.models.deeplab import DeepLab
from engines.size import SIDE_MULTIPLE
from engines.spec import INPUT_NAME, LOGITS_STRIDE, Meaning

__all__ = [
    "MAX_LOGIT_DIFFERENCE",
    "MIN_LABEL_AGREEMENT",
    "ServedGraph",
    "answers_of_network",
    "export_graph",
]

OPSET = 18
MAX_LOGIT_DIFFERENCE = 1e-3
"""Between checkpoint and graph, both in float32: sums in another order differ by about 1e-5."""
MIN_LABEL_AGREEMENT = 0.9999
LAST_DIGIT = 1e-6
"""To which a `Difference` is rounded."""


class ServedGraph(nn.Module):
    """A network between raw frames and finished planes, as it is exported."""

    def __init__(self, model: DeepLab, subject: int | None, width: int, height: int) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.subject = subject
        self.rows = nn.Buffer(_bilinear(height).T.contiguous())
        self.columns = nn.Buffer(_bilinear(width))
        # BGR costs nothing: the first convolution takes its input channels in the other order.
        for name in self.model.first_convolutions:
            first = self.model.get_parameter(name)
            first.data = first.data.flip(1).contiguous()

    def forward(self, image_bgr: Tensor) -> tuple[Tensor, ...]:
        """(1, H, W, 3) uint8 -> logits (1, C, H/4, W/4) float32, [alpha (1, H, W) uint8,] labels (1, H, W) uint8."""
        planes_bgr = image_bgr.float().permute(0, 3, 1, 2)
        logits = self.model(self.model.normalisation.of_planes(planes_bgr, is_bgr=True))
        if self.subject is None:
            return logits, _labels(logits)
        # log(p / (1 - p)) of the subject: with two classes just the difference of the logits.
        rest = torch.cat([logits[:, : self.subject], logits[:, self.subject + 1 :]], dim=1)
        margin = logits[:, self.subject : self.subject + 1] - (
            rest if rest.shape[1] == 1 else rest.logsumexp(dim=1, keepdim=True)
        )
        margin = torch.matmul(torch.matmul(self.rows, margin[:, 0]), self.columns)
        alpha = (margin.sigmoid() * 255.0 + 0.5).to(torch.uint8)
        if logits.shape[1] > 2:
            return logits, alpha, _labels(logits)
        is_second = margin > 0 if self.subject == 1 else margin < 0
        return logits, alpha, is_second.to(torch.uint8)


def export_graph(
    model: DeepLab,
    meaning: Meaning,
    width: int,
    height: int,
    path: Path,
    samples_bgr: Sequence[NDArray[np.uint8]],
    batch: int = 1,
) -> tuple[Graph, Samples]:
    """Write one static graph in float32 and check it against the network.

    Args:
        model: gives logits at stride 4 from normalised RGB.
        path: the `.onnx` to write; replaced only when the new file has passed.
        samples_bgr: images (height, width, 3) uint8 for the check; noise is used when there are none.
        batch: pictures a call, fixed.

    Returns:
        The graph's entry for a manifest, and the network's answers, for graphs in other precisions.

    Raises:
        InputSizeError: the size is not a multiple of 32.
        ExportError: the graph differs from the network by more than the stated bounds.
    """
    for side, value in (("width", width), ("height", height)):
        if value <= 0 or value % SIDE_MULTIPLE:
            near = max(SIDE_MULTIPLE, value // SIDE_MULTIPLE * SIDE_MULTIPLE)
            raise InputSizeError(
                f"{side} {value} is not a multiple of {SIDE_MULTIPLE}; export at {near} or {near + SIDE_MULTIPLE}"
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    served = ServedGraph(model, meaning.output.subject, width, height).eval()
    partial = path.with_suffix(".partial.onnx")
    try:
        _write(served, meaning, width, height, batch, partial)
        fitting = [picture for picture in samples_bgr if picture.shape == (height, width, 3)]
        batches_bgr = stacked(fitting or noise(height, width), batch)
        samples = Samples(batches_bgr, answers_of_network(model, batches_bgr), is_noise=not fitting)
        difference = difference_of(answers_of_graph(partial, batches_bgr), samples.expected, is_noise=not fitting)
        # In a small picture one pixel on the border of two classes is more than a ten-thousandth.
        lowest = min(MIN_LABEL_AGREEMENT, 1 - 1 / (width * height)) - LAST_DIGIT
        if difference.logits > MAX_LOGIT_DIFFERENCE or difference.labels < lowest:
            raise ExportError(
                f"{path.name}: logits differ by {difference.logits:.2e} (at most {MAX_LOGIT_DIFFERENCE:.0e}), "
                f"labels agree on {difference.labels:.5f} (at least {MIN_LABEL_AGREEMENT}); the graph was not written"
            )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    graph = Graph(
        file=path.name, width=width, height=height, batch=batch, sha256=sha256_of(path), difference=difference
    )
    return graph, samples


def answers_of_network(model: DeepLab, batches_bgr: Sequence[NDArray[np.uint8]]) -> list[Answer]:
    """What a network in evaluation mode says of batches (batch, height, width, 3) uint8."""
    model.eval()
    answers = []
    with torch.inference_mode():
        for batch_bgr in batches_bgr:
            logits = model(model.normalise(torch.from_numpy(batch_bgr)))
            answers.append(Answer(logits.numpy(), _labels(logits).numpy()))
    return answers


def _write(served: ServedGraph, meaning: Meaning, width: int, height: int, batch: int, path: Path) -> None:
    import onnx

    sample = torch.zeros(batch, height, width, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter's own libraries warn about their own deprecations.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        torch.onnx.export(
            served,
            (sample,),
            str(path),
            input_names=[INPUT_NAME],
            output_names=list(meaning.output.names),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    graph = onnx.load(path)
    for node in graph.graph.node:
        if node.op_type == "Resize":
            for attribute in node.attribute:
                # The same numbers for maps larger than one pixel, and the mode that every runtime knows.
                if attribute.name == "coordinate_transformation_mode" and attribute.s == b"pytorch_half_pixel":
                    attribute.s = b"half_pixel"
        # Source locations and shapes of the tracer: of no use here, and a third of a small file.
        del node.metadata_props[:]
        node.doc_string = ""
    del graph.metadata_props[:]
    facts = {**meaning.as_metadata(), "precision": "fp32", "normalisation": served.model.normalisation.text}
    for key, value in facts.items():
        graph.metadata_props.add(key=key, value=value)
    del graph.graph.value_info[:]
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _labels(logits: Tensor) -> Tensor:
    return _upsampled(logits).argmax(dim=1).to(torch.uint8)


def _upsampled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=float(LOGITS_STRIDE), mode="bilinear", align_corners=False)


def _bilinear(side: int) -> Tensor:
    """(side / 4, side): what half-pixel bilinear enlargement by four multiplies a line with."""
    impulses = torch.eye(side // LOGITS_STRIDE)[None]
    return F.interpolate(impulses, scale_factor=float(LOGITS_STRIDE), mode="linear", align_corners=False)[0]
