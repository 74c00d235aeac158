"""Calls that overlap, by every backend that works here: on a GPU the answers are right, a processor offers none."""

from pathlib import Path

import numpy as np
import pytest

from engines.names import resolve
from engines.plans.library import LIBRARIES
from engines.runtime import automatic_backends, open_engine
from engines.runtime.overlap import N_SETS
from tests.engines.runtime.graphs import analytic_alpha, write_engine
from tests.engines.runtime.test_conformance import build_for_this_gpu


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.skipif(reason is not None, reason=f"needs {name}: {reason}"))
        for name, reason in automatic_backends().items()
    ],
)
def test_every_answer_is_of_its_own_picture(backend: str, tmp_path: Path) -> None:
    """Twelve pictures, as fast as they are taken."""
    spec = resolve(write_engine(tmp_path, sizes=((64, 32),)))
    if backend in LIBRARIES:
        build_for_this_gpu(spec, backend)
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, spec.input.shape(), dtype=np.uint8) for _ in range(4 * N_SETS)]
    answers = [np.zeros(spec.output_shape("alpha"), np.uint8) for _ in pictures]

    with open_engine(spec, backend=backend, outputs=["alpha"], n_threads=1) as engine:
        overlap = engine.overlap(lambda: None)
        if overlap is None:
            assert not engine.on_gpu
            return
        calls = [overlap.submit(picture, {"alpha": out}) for picture, out in zip(pictures, answers, strict=True)]
        for call in calls:
            call.done.wait()
            call.check()
        overlap.close()

    assert all(np.array_equal(out, analytic_alpha(one)) for one, out in zip(pictures, answers, strict=True))
