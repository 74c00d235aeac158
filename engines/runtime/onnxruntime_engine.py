"""ONNX Runtime on the CPU: the portable reference, always float32.

Buffers are bound by address, so nothing is copied and nothing allocated. The trap: ONNX Runtime runs
the whole graph whatever is bound, unless a run asks for the path to its fetches only; and its
threads spin between calls, which starves the other workers of a stream: spinning is off.
"""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from engines.errors import BackendUnavailable, EngineError, EngineMismatch
from engines.runtime.checked import Array, CheckedEngine, address_of
from engines.runtime.graph_facts import GraphFacts, check_contract
from engines.spec import INPUT_NAME

__all__ = ["CPU_PROVIDER", "OnnxRuntimeEngine", "load_session", "session_facts", "session_faults"]

_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class OnnxRuntimeEngine(CheckedEngine):
    """ONNX Runtime on the CPU, in float32: the portable reference.

    See `CheckedEngine` for the arguments. Calls from several threads take turns: `throughput` is treated as `latency`.
    """

    title: ClassVar[str] = "ONNX Runtime"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        """Why ONNX Runtime cannot be used here, None when it can. Imports it."""
        try:
            import onnxruntime  # noqa: F401
        except ImportError as error:
            return f"onnxruntime cannot be imported ({error}); pip install onnxruntime"
        return None

    def _open(self) -> None:
        import onnxruntime as ort

        if self.spec.precision == "bf16":
            raise BackendUnavailable(
                f"{self.spec.label}: ONNX Runtime has no bf16 convolution on a CPU; "
                "take backend openvino, or another precision"
            )
        self._session = load_session(self.spec.path, n_threads=self.n_threads, optimise=True)
        check_contract(self.spec, session_facts(self._session), self.outputs)
        self._binding = self._session.io_binding()
        self._bound: dict[str, tuple[int, int]] = {}
        """Address and pictures of what is bound."""
        self._faults = session_faults()
        self._turn = threading.Lock()
        self._run_options = ort.RunOptions()
        self._run_options.only_execute_path_to_fetches = True
        for batch in dict.fromkeys((self.max_batch, self.spec.batch)):
            self._run(self._blank_image(batch), self._blank_outputs(batch))
        version = ".".join(ort.__version__.split(".")[:2])
        n_threads = f"{self.n_threads} thread" + ("s" if self.n_threads > 1 else "")
        self.backend = f"{self.title} {version} fp32, {n_threads}"

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        with self._turn:
            try:
                self._bind(image_bgr, outputs)
                self._session.run_with_iobinding(self._binding, self._run_options)
            except self._faults as error:
                raise EngineError(f"{self.spec.label}: ONNX Runtime failed ({_line(error)})") from error

    def _bind(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        if self._bound.keys() - {INPUT_NAME} != outputs.keys():
            self._binding.clear_binding_outputs()
            self._bound = {name: place for name, place in self._bound.items() if name == INPUT_NAME}
        place = (address_of(image_bgr), len(image_bgr))
        if self._bound.get(INPUT_NAME) != place:
            self._binding.bind_input(INPUT_NAME, "cpu", 0, image_bgr.dtype.type, image_bgr.shape, place[0])
            self._bound[INPUT_NAME] = place
        for name, buffer in outputs.items():
            place = (address_of(buffer), len(buffer))
            if self._bound.get(name) != place:
                self._binding.bind_output(name, "cpu", 0, buffer.dtype.type, buffer.shape, place[0])
                self._bound[name] = place

    def _close(self) -> None:
        self._session = self._binding = None
        self._bound = {}
        self.backend = self.title


CPU_PROVIDER = "CPUExecutionProvider"


def load_session(path: Path, *, n_threads: int, optimise: bool, providers: Sequence[Any] = (CPU_PROVIDER,)) -> Any:
    """Open an ONNX file in a sequential session, on the CPU unless told, whose threads do not spin.

    Raises:
        BackendUnavailable: ONNX Runtime is not installed.
        EngineMismatch: the file is not an ONNX graph that it can run.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise BackendUnavailable(f"onnxruntime cannot be imported ({error}); pip install onnxruntime") from error
    options = ort.SessionOptions()
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = n_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors only: warnings about unused initialisers are noise here
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except session_faults() as error:
        raise EngineMismatch(f"{path}: not an ONNX graph that ONNX Runtime can run ({_line(error)})") from error


def session_facts(session: Any) -> GraphFacts:
    """Names, types, shapes and metadata of a session."""
    return GraphFacts(
        inputs={node.name: _node(node) for node in session.get_inputs()},
        outputs={node.name: _node(node) for node in session.get_outputs()},
        metadata=dict(session.get_modelmeta().custom_metadata_map),
    )


def _node(node: Any) -> tuple[str, tuple[int | None, ...]]:
    shape = tuple(side if isinstance(side, int) else None for side in node.shape)
    return _TYPES.get(node.type, node.type), shape


def session_faults() -> tuple[type[Exception], ...]:
    """The runtime has a class of its own for each fault, without a common base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, ValueError, *own)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
