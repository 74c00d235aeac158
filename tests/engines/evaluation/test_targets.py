"""A checkpoint opened for scoring: protocol, scales, mirror, stride."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import InputSizeError
from engines.evaluation.segmenters import Averaged, label_map_of
from engines.evaluation.targets import opened
from engines.models.deeplab import ModelConfig, build
from engines.size import Size
from engines.spec import Meaning
from engines.training.checkpoint import Checkpoint
from tests.engines.toy import CLASSES, PALETTE, picture

SMALL = ModelConfig(aspp_channels=8, low_channels=4, width=0.25)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """A network this small only waits for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small network that was never trained."""
    path = tmp_path_factory.mktemp("targets") / "small.pt"
    torch.manual_seed(0)
    weights = build(SMALL, len(CLASSES)).state_dict()
    Checkpoint("small", SMALL, Meaning(CLASSES, PALETTE, "square"), dict(weights)).save(path)
    return str(path)


def _shown(target: object) -> list[tuple[int, int]]:
    """Sizes (height, width) that the networks are run at for a 40x60 picture."""
    image = picture(0, 40, 60)[0]
    sizes = []
    segmenter = target.segmenter
    for part in segmenter.segmenters if isinstance(segmenter, Averaged) else [segmenter]:
        model = part._network.model
        hook = model.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
        assert part.logits(image).shape == (40, 60, 2)
        hook.remove()
    return sizes


def test_scales_are_of_the_protocols_own_size(checkpoint: str) -> None:
    """P1 at an eighth and a quarter of 512 on the longer side; P2 at multiples of 32 of the served size."""
    with opened(checkpoint, scales=(0.125, 0.25)) as first:
        assert _shown(first) == [(64, 64), (96, 128)]
        assert first.segmenter.protocol == "P1 (x 0.125, x 0.25)"
    with opened(checkpoint, protocol="P2", size=Size(128, 64), scales=(0.5, 1.0, 1.3), flips=True) as second:
        assert _shown(second) == [(32, 64), (64, 128), (96, 160)]
        assert second.segmenter.protocol == "P2 (x 0.5, x 1, x 1.3, flip)"
        assert second.key == "P2@128x64"


def test_the_output_stride_is_another_and_the_weights_are_the_same(checkpoint: str) -> None:
    """Trained at 16, scored at 8."""
    with opened(checkpoint, protocol="P2", size=Size(64, 64), output_stride=8) as finer:
        model = finer.segmenter._network.model
    with opened(checkpoint, protocol="P2", size=Size(64, 64)) as plain:
        before = plain.segmenter._network.model.state_dict()

    assert model.config.output_stride == 8
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert finer.title == "small.pt 64x64, output stride 8"


def test_mirroring_makes_the_answer_symmetric(checkpoint: str) -> None:
    """A picture and its mirror get mirrored labels, which a network alone does not promise."""
    image, _ = picture(1)
    mirrored = np.ascontiguousarray(image[:, ::-1])

    with opened(checkpoint, protocol="P2", size=Size(64, 64), flips=True) as target:
        straight, turned = (target.segmenter.logits(seen) for seen in (image, mirrored))

    np.testing.assert_allclose(straight, turned[:, ::-1], atol=1e-4)
    assert label_map_of(straight.transpose(2, 0, 1)).shape == (64, 64)


def test_a_checkpoint_that_is_not_there_is_named(tmp_path: Path) -> None:
    """In one line, as everywhere."""
    from engines.errors import CheckpointError

    with pytest.raises(CheckpointError, match=r"gone\.pt"), opened(str(tmp_path / "gone.pt")):
        pass


def test_a_size_that_no_graph_could_have_is_refused(checkpoint: str) -> None:
    """P2 scored 100x96, which `export` refuses: a figure for something that cannot be served."""
    with (
        pytest.raises(InputSizeError, match="100x96 is not in multiples of 32"),
        opened(checkpoint, protocol="P2", size=Size(100, 96)),
    ):
        pass
