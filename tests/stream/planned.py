"""A TensorRT-RTX without a GPU, for whole-stream tests: plans are looked up, built and checked as ever, run by a fake.

What it answers is the opposite of what the graph says, so that every pixel tells which engine it is from. It takes the
place of the real backend in the table of backends: in this process by `register()`, in a segment worker by naming
`tests.stream.planned:Register` before `segment`. The builder needs no GPU and is the real one.
"""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from engines.errors import EngineError, EngineMismatch
from engines.names import resolve
from engines.plans.cache import Plan, PlanCache, plan_folders
from engines.plans.choose import plan_for
from engines.plans.gpu import Gpu
from engines.plans.key import PlanOptions, Target, key_of
from engines.plans.library import find_library
from engines.runtime import BACKENDS
from engines.runtime.checked import Array, CheckedEngine, PrecisionHint
from engines.spec import EngineSpec
from pipeline.frame import Frame
from pipeline.stages import PlainStage, StageContext
from tests.engines.runtime.graphs import write_engine

BACKEND = "tensorrt_rtx"
REGISTER = "tests.stream.planned:Register"
WORKERS = (("capture",), ("preprocess",), (REGISTER, "segment"), ("tests.stream.faults:Slow",), ("render",))
"""25 frames a second, none dropped when the run is lossless."""
GPU = Gpu("NVIDIA GeForce RTX 4070", "8.9", "13.0", 12 << 30)


class Planned(CheckedEngine):
    """Opens a plan as the real backend does, as far as that goes without a GPU."""

    title: ClassVar[str] = "Planned"

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    @classmethod
    def missing_reason(cls, spec: EngineSpec, precision_hint: PrecisionHint = "auto") -> str | None:
        try:
            _plan(spec)
        except EngineError as error:
            return str(error)
        return None

    def _open(self) -> None:
        if os.environ.get("SEGTEST_PLAN") == "refused":
            raise EngineMismatch("the driver is too old for this plan")
        _plan(self.spec).load()

    def _run(self, image_bgr: Array, outputs: Mapping[str, Array]) -> None:
        outputs["alpha"][...] = 255 - alpha_of(image_bgr)

    def _close(self) -> None:
        pass


class Deadly(Planned):
    """Kills the process that opens it."""

    title: ClassVar[str] = "Deadly"

    def _open(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Register(PlainStage):
    """Passes frames; the worker that has it knows the fakes."""

    def __init__(self, context: StageContext) -> None:
        super().__init__(context)
        register()

    def process(self, frame: Frame) -> None:
        """Pass."""


def register() -> None:
    """Make this process's table of backends: the fakes, and OpenVINO for what has no plan."""
    openvino = BACKENDS["openvino"]
    BACKENDS.clear()
    BACKENDS.update({BACKEND: f"{__name__}:Planned", "openvino": openvino})
    BACKENDS.update({"deadly": f"{__name__}:Deadly"})


def alpha_of(image_bgr: Array) -> Any:
    """What the graph answers: the subject is where there is more blue than 128."""
    return np.where(image_bgr[..., 0] > 128, np.uint8(255), np.uint8(0))


def engine_at(folder: Path) -> Path:
    """A graph of 320x180, the size of the frames: nothing is resized."""
    return write_engine(folder, sizes=((320, 180),))


def plan_key(engine: Path) -> Any:
    """Of the plan that the builder makes on a machine without a GPU."""
    library = find_library(BACKEND)
    return key_of(resolve(engine), library, Target.of(library, None), PlanOptions())


def plans() -> PlanCache:
    """The user's, which is the test's."""
    return PlanCache(plan_folders()[-1])


def _plan(spec: EngineSpec) -> Plan:
    return plan_for(spec, find_library(BACKEND), GPU)
