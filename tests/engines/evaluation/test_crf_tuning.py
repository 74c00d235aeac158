"""A CRF is noted only when it surely helps, and what the network said is computed once."""

from collections.abc import Iterator, Mapping
from typing import Self

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.data.pairs import Pair
from engines.errors import DataError
from engines.evaluation import crf_tuning as module
from engines.evaluation.crf_tuning import tune
from engines.evaluation.evaluate import P2Engine
from engines.evaluation.kept import KeptPicture, keep, labels_of
from engines.evaluation.segmenters import label_map_of
from engines.runtime import Array
from tests.engines.evaluation.test_evaluate import FindsRed
from tests.engines.toy import picture


class Blurred(FindsRed):
    """Finds red squares, two pixels too large on every side."""

    def __init__(self) -> None:
        super().__init__(64, 64)
        self.n_calls = 0

    def infer(self, inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
        import cv2

        self.n_calls += 1
        image = inputs["image_bgr"].copy()
        red = (image[0, ..., 2] > 200).astype(np.uint8)
        image[0][cv2.dilate(red, np.ones((5, 5), np.uint8)) > 0] = (20, 20, 220)
        super().infer({"image_bgr": image}, outputs)
        outputs["logits"][0] /= 60


class FakeCrf:
    """Stands for `StreamCrf`: says everywhere what `answer` makes of the picture."""

    answer = staticmethod(lambda tensor_bgr: tensor_bgr[..., 2] > 200)

    def __init__(self, *_: object) -> None: ...

    def refine(self, logits: NDArray[np.float32], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
        del logits
        is_one = self.answer(tensor_bgr).astype(np.float32)
        return np.stack([1 - is_one, is_one])


class Steps:
    """A progress bar that nobody sees."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None: ...

    def step(self) -> None: ...


def _pairs(n: int) -> Iterator[Pair]:
    for index in range(n):
        image_bgr, label_map = picture(index)
        yield Pair(f"toy_{index:02d}", image_bgr, label_map)


def _kept(engine: FindsRed, n: int = 8) -> list[KeptPicture]:
    return keep(engine, _pairs(n), lambda: None)


def _tune(monkeypatch: pytest.MonkeyPatch, crf: type, engine: FindsRed, n: int = 8) -> module.Tuning:
    monkeypatch.setattr(module, "StreamCrf", crf)
    return tune(engine.spec, _kept(engine, n), "toy", "fast", lambda what, most: Steps())


def test_a_crf_that_mends_the_masks_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its gain stands beside it: on how many pictures that it was not found on, and how sure."""
    engine = Blurred()

    found = _tune(monkeypatch, FakeCrf, engine)

    assert found.setting is not None
    assert found.setting == found.trials[0].setting
    assert found.gain.images == 4
    assert 0 < found.gain.miou_interval[0] <= found.gain.miou <= found.gain.miou_interval[1]
    assert found.gain.boundary_f > 0
    assert engine.n_calls == 8
    assert found.confirmed[0].setting is None
    assert set(found.confirmed[0].scores.trimap_miou) == {1, 2, 4, 8}


def test_a_crf_that_spoils_the_masks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every setting of this one forgets the subject; the loss is told all the same."""

    class Forgets(FakeCrf):
        answer = staticmethod(lambda tensor_bgr: np.zeros(tensor_bgr.shape[:2], np.bool_))

    found = _tune(monkeypatch, Forgets, FindsRed(64, 64))

    assert found.setting is None
    assert found.gain.miou_interval[1] < 0


def test_a_gain_that_may_be_chance_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CRF that changes nothing gains nothing, and an interval that holds zero is not above it."""

    class Repeats(FakeCrf):
        def refine(self, logits: NDArray[np.float32], tensor_bgr: NDArray[np.uint8]) -> NDArray[np.float32]:
            del tensor_bgr
            return logits

    found = _tune(monkeypatch, Repeats, Blurred())

    assert found.gain.miou == 0
    assert found.setting is None


def test_too_few_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two halves of three pictures say nothing."""
    with pytest.raises(DataError, match="6 pictures of toy; expected at least 8"):
        _tune(monkeypatch, FakeCrf, FindsRed(64, 64), n=6)


def test_kept_pictures_are_scored_as_evaluate_scores_them() -> None:
    """Without a CRF the labels are those of P2, bars of the letterbox included."""
    engine = FindsRed(128, 64)
    kept = _kept(engine, 2)

    for pair, one in zip(_pairs(2), kept, strict=True):
        expected = label_map_of(P2Engine(engine).logits(pair.image_bgr).transpose(2, 0, 1))
        np.testing.assert_array_equal(labels_of(one, None, engine.spec.input), expected)
        np.testing.assert_array_equal(one.truth, pair.label_map)


def test_what_does_not_fit_into_memory_is_refused_with_the_number_that_does() -> None:
    """Nobody's machine begins to swap."""
    engine = FindsRed(64, 64)
    n_bytes = _kept(engine, 1)[0].n_bytes

    with pytest.raises(DataError, match="--limit 2"):
        keep(engine, _pairs(5), lambda: None, most_bytes=2 * n_bytes + n_bytes // 2)
