"""The same graph with an open batch axis, so that frames of several streams share a call. Works without torch.

Whatever its precision: arithmetic and weights stay, only what says "one picture" is taken out. The trap: exporters
write the batch into constants too (the sizes of a Resize, the shape of a Reshape), and such a graph is valid and fails
when it runs; so the new graph is run, with two pictures a call, against the old one before it replaces anything.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engines.errors import EngineError, ExportError
from engines.export.difference import Answer, answers_of_graph, difference_of, noise, stacked
from engines.manifest import Difference, Graph, sha256_of
from engines.runtime.graph_facts import spec_from_graph

if TYPE_CHECKING:
    import onnx

__all__ = ["MAX_LOGIT_DIFFERENCE", "fix_sides", "open_axis", "open_batch"]

MAX_LOGIT_DIFFERENCE = 1e-3
"""Between one picture a call and two, both in float32: kernels may sum in another order."""
MIN_LABEL_AGREEMENT = 0.9999
AXIS = "batch"
N_TRIED = 2


def open_batch(source: Path, entry: Graph, path: Path, pictures_bgr: Sequence[NDArray[np.uint8]] = ()) -> Graph:
    """Write the graph of one manifest entry again, for any number of pictures a call.

    Args:
        source: the graph's file, with a batch of one.
        entry: what the manifest says of it.
        path: the `.onnx` to write; replaced only when the new file has been run.
        pictures_bgr: (height, width, 3) of the graph's size to compare the two on; noise when there are none.

    Returns:
        The new graph's entry: differences are the old one's, since the numbers are the same; certificates are not.

    Raises:
        ExportError: the batch stands somewhere inside the graph, or the answers differ.
    """
    import onnx

    if entry.batch != 1 or entry.any_batch:
        raise ExportError(f"{source.name} ({entry.label}): only a graph for one picture a call can be opened")
    graph = onnx.load(source)
    open_axis(graph)
    onnx.checker.check_model(graph)
    partial = path.with_suffix(".partial.onnx")
    try:
        onnx.save(graph, partial)
        difference = _difference(source, partial, pictures_bgr)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    changes = {"file": path.name, "any_batch": True, "sha256": sha256_of(path), "scores": {}, "certified": {}}
    return entry.model_copy(update={**changes, "difference": entry.difference or difference})


def open_axis(graph: "onnx.ModelProto") -> None:
    """In place: inputs, outputs, and the constants that hold the batch."""
    import onnx

    for value in (*graph.graph.input, *graph.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = AXIS
    del graph.graph.value_info[:]
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in graph.graph.initializer}
    nodes = []
    for node in graph.graph.node:
        if node.op_type == "Resize" and len(node.input) > 3 and node.input[3] in constants:
            nodes += _sizes_of_any_batch(graph, node, constants[node.input[3]])
        elif node.op_type == "Reshape" and node.input[1] in constants:
            shape = constants[node.input[1]]
            if len(shape) and shape[0] == 1:  # 0: as in the input
                node.input[1] = _constant(graph, f"{node.output[0]}.shape", np.array([0, *shape[1:]], np.int64))
        nodes.append(node)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)


def fix_sides(graph: "onnx.ModelProto") -> None:
    """In place: the sizes that `open_batch` has calculated are constants again, their batch and channels meaningless.

    For a runtime that looks at height and width alone, and cannot wait for numbers that are calculated on a GPU.
    """
    from onnx import numpy_helper

    made_by = {name: node for node in graph.graph.node for name in node.output}
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.graph.initializer}
    dropped = set()
    for node in graph.graph.node:
        sizes = made_by.get(node.input[3]) if node.op_type == "Resize" and len(node.input) > 3 else None
        if sizes is None or sizes.op_type != "Concat" or len(sizes.input) != 2 or sizes.input[1] not in constants:
            continue
        head = made_by.get(sizes.input[0])
        if head is None or head.op_type != "Shape":
            continue
        sides = np.array([1, 1, *constants[sizes.input[1]]], np.int64)
        node.input[3] = _constant(graph, f"{sizes.output[0]}.fixed", sides)
        dropped |= {sizes.output[0], head.output[0]}
    wanted = {name for node in graph.graph.node if not dropped & set(node.output) for name in node.input}
    kept = [node for node in graph.graph.node if not dropped & set(node.output) or wanted & set(node.output)]
    del graph.graph.node[:]
    graph.graph.node.extend(kept)


def _sizes_of_any_batch(
    graph: "onnx.ModelProto", resize: "onnx.NodeProto", sizes: NDArray[np.int64]
) -> list["onnx.NodeProto"]:
    """Nodes that calculate the sizes: batch and channels of what comes in, height and width as they were."""
    from onnx import helper

    if any(attribute.name == "axes" for attribute in resize.attribute):
        return []  # then the sizes are of height and width alone
    name = resize.output[0]
    sides = _constant(graph, f"{name}.sides", np.asarray(sizes[2:], np.int64))
    resize.input[3] = f"{name}.sizes"
    return [
        helper.make_node("Shape", [resize.input[0]], [f"{name}.head"], start=0, end=2),
        helper.make_node("Concat", [f"{name}.head", sides], [f"{name}.sizes"], axis=0),
    ]


def _constant(graph: "onnx.ModelProto", name: str, value: NDArray[np.int64]) -> str:
    from onnx import numpy_helper

    graph.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _difference(source: Path, opened: Path, pictures_bgr: Sequence[NDArray[np.uint8]]) -> Difference:
    """Between two pictures a call and one, where that is little enough."""
    height, width = spec_from_graph(source).input.shape()[1:3]
    batches_bgr = stacked(pictures_bgr or noise(height, width), N_TRIED)
    try:
        found = answers_of_graph(opened, batches_bgr)
    except EngineError as error:
        raise ExportError(f"{source.name}: does not run with {N_TRIED} pictures a call ({error})") from error
    alone = answers_of_graph(source, [picture[None] for batch_bgr in batches_bgr for picture in batch_bgr])
    together = [
        Answer(answer.logits[index : index + 1], answer.labels[index : index + 1])
        for answer in found
        for index in range(N_TRIED)
    ]
    difference = difference_of(together, alone, is_noise=not pictures_bgr)
    if difference.logits > MAX_LOGIT_DIFFERENCE or difference.labels < MIN_LABEL_AGREEMENT:
        raise ExportError(
            f"{source.name}: with {N_TRIED} pictures a call logits differ by {difference.logits:.2e} (at most "
            f"{MAX_LOGIT_DIFFERENCE:.0e}), labels agree on {difference.labels:.5f} (at least {MIN_LABEL_AGREEMENT}); "
            "nothing was written"
        )
    return difference
