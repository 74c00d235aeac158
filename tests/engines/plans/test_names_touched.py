"""Nothing is touched that TensorRT 11 removed, or that a later version of 10 or of tensorrt_rtx calls deprecated.

A proxy around the real module notes each name that is read from it, from its classes and from what it makes, in a real
build; the stand-in of `tensorrt` in tests/engines/runtime notes the same for running.
"""

from pathlib import Path
from typing import Any

import pytest
import tensorrt_rtx

from engines.plans.builder import build_plan
from engines.plans.cache import PlanCache
from engines.plans.key import PlanOptions, Target
from engines.plans.library import LIBRARIES, Library
from tests.engines.plans.worlds import tiny_spec

REMOVED = frozenset(
    """
    FP16 BF16 INT8 FP8 INT4 FP4 OBEY_PRECISION_CONSTRAINTS PREFER_PRECISION_CONSTRAINTS REJECT_EMPTY_ALGORITHMS
    EXPLICIT_BATCH EXPLICIT_PRECISION int8_calibrator IInt8Calibrator IInt8EntropyCalibrator2 IInt8MinMaxCalibrator
    set_calibration_profile quantization_flags set_quantization_flag IAlgorithmSelector algorithm_selector
    platform_has_fast_fp16 platform_has_fast_int8 platform_has_tf32 device_memory_size max_batch_size
    max_workspace_size build_engine build_cuda_engine num_bindings get_binding_name get_binding_shape
    get_binding_index binding_is_input execute_async execute_async_v2 set_binding_shape
    precision set_output_type reset_precision dynamic_range set_dynamic_range
    """.split()
)
"""NVIDIA's migration guides from 8 to 10 and from 10 to 11, and the API's list of deprecated names."""


class Recorded:
    """Stands before an object and notes what is read from it; what comes out is recorded too."""

    def __init__(self, real: Any, names: set[str]) -> None:
        object.__setattr__(self, "_real", real)
        object.__setattr__(self, "_names", names)

    def __getattr__(self, name: str) -> Any:
        self._names.add(name)
        value = getattr(self._real, name)
        # Base classes of ours, enumerations and plain values go as they are; made objects and calls are watched.
        if isinstance(value, type) and name in {"ILogger", "IProgressMonitor"}:
            return value
        if callable(value) or type(value).__module__.startswith("tensorrt"):
            return Recorded(value, self._names)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        self._names.add(name)
        setattr(self._real, name, plain(value))

    def __call__(self, *arguments: Any) -> Any:
        result = self._real(*(plain(argument) for argument in arguments))
        return Recorded(result, self._names) if type(result).__module__.startswith("tensorrt") else result

    def __int__(self) -> int:
        return int(self._real)

    def __str__(self) -> str:
        return str(self._real)

    def __iter__(self) -> Any:
        return iter(self._real)

    def __bytes__(self) -> bytes:
        return bytes(self._real)


def plain(value: Any) -> Any:
    """What is behind a recorded object."""
    return value._real if isinstance(value, Recorded) else value


def test_a_build_touches_no_name_that_was_removed(tmp_path: Path) -> None:
    """With a profile, without TF32, for one compute capability: every branch of the builder."""
    names: set[str] = set()
    library = Library(LIBRARIES["tensorrt_rtx"], Recorded(tensorrt_rtx, names))
    spec, cache = tiny_spec(tmp_path), PlanCache(tmp_path / "plans")

    build_plan(spec, library, Target.of(library, None, "8.6"), PlanOptions(tf32=False), cache)

    assert {"Builder", "OnnxParser", "build_serialized_network", "TF32", "get_layer"} <= names  # it did record
    assert names & REMOVED == set()


@pytest.mark.parametrize("name", ["FP16", "int8_calibrator", "execute_async_v2"])
def test_the_list_is_of_names_that_are_gone(name: str) -> None:
    """tensorrt_rtx follows 11: what the list forbids is not there any more."""
    owners = (tensorrt_rtx.BuilderFlag, tensorrt_rtx.IBuilderConfig, tensorrt_rtx.IExecutionContext)

    assert not any(hasattr(owner, name) for owner in owners)


def test_contexts_take_memory_as_the_stand_in_has_it() -> None:
    """Names and arguments of what several contexts share, where no GPU can try them."""
    assert tensorrt_rtx.ExecutionContextAllocationStrategy.USER_MANAGED
    assert "strategy" in str(tensorrt_rtx.ICudaEngine.create_execution_context.__doc__)
    told = str(tensorrt_rtx.IExecutionContext.set_device_memory.__doc__)
    assert told.index("memory: ") < told.index("size: ")
