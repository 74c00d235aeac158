"""The kernels of the permutohedral lattice, one by one, against the plain lattice and sums over all pairs."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from engines.crf.explained import PlainLattice, all_pairs
from engines.kernels.keys import Fields, lifting
from engines.kernels.lattice_blur import blur_axes
from engines.kernels.launch import device_of_kernels
from engines.kernels.mean_field import slice_rows
from engines.kernels.simplices import Embedding, locate
from engines.kernels.splat import splat
from engines.kernels.table import PIECE, Table, pieces
from tests.engines.crf.scenes import disc, noise

SIGMAS = (8.0, 8.0, 30.0, 30.0, 30.0)
Scene = Callable[[int, int, int], tuple[np.ndarray, np.ndarray]]


def _features(image_bgr: np.ndarray, sigmas: tuple[float, ...]) -> np.ndarray:
    height, width = image_bgr.shape[:2]
    y, x = np.mgrid[:height, :width].reshape(2, -1)
    features = np.hstack([np.stack([x, y], axis=1), image_bgr.reshape(-1, 3)])[:, : len(sigmas)]
    return features / np.array(sigmas)


def _table(image_bgr: np.ndarray, sigmas: tuple[float, ...]) -> Table:
    height, width = image_bgr.shape[:2]
    embedding = Embedding.of(sigmas, (height, width), "of the test")
    image = torch.from_numpy(image_bgr).to(device_of_kernels()) if len(sigmas) == 5 else None
    return Table.of(*locate(image, embedding), embedding.steps)


@pytest.mark.parametrize("sigmas", [SIGMAS, SIGMAS[:2], (67.0, 67.0, 3.0, 3.0, 3.0)])
@pytest.mark.parametrize("scene", [disc, noise])
def test_pixels_lie_where_the_plain_lattice_puts_them(sigmas: tuple[float, ...], scene: Scene) -> None:
    """As many lattice points, the same weights, the same neighbours."""
    _, image_bgr = scene(19, 23, 2)
    plain = PlainLattice(_features(image_bgr, sigmas))

    table = _table(image_bgr, sigmas)

    assert table.n_vertices == plain.n_points
    # By a pixel's heaviest corners: on the face between two simplices float32 may choose the other.
    ours, theirs = (-np.sort(-weights, axis=1) for weights in (table.weights.cpu().numpy(), plain.weights))
    np.testing.assert_allclose(ours, theirs, atol=2e-4)
    n_neighbours = [int((near < table.n_vertices).sum()) for near in table.near.cpu()]
    assert n_neighbours == [sum(int((side < plain.n_points).sum()) for side in sides) for sides in plain.neighbours]


def test_splat_blur_and_slice_are_nearly_the_sum_over_all_pairs() -> None:
    """What everything stands on: normalised, the lattice's filter is the Gaussian one to a few per cent."""
    probs, image_bgr = disc(24, 24, 2)
    table, n = _table(image_bgr, SIGMAS), 24 * 24
    device = device_of_kernels()
    values = torch.stack([torch.from_numpy(probs[1].ravel()), torch.ones(n)], dim=1).to(device)
    bounds, ends = pieces(table.starts)
    lattice, spare = (torch.empty((table.n_vertices, 2), device=device) for _ in range(2))

    splat(
        values, (table.order // 6).to(torch.int32), table.weights.flatten()[table.order], bounds, ends,
        torch.empty((len(bounds), 2), device=device), lattice,
    )  # fmt: skip
    blurred = blur_axes(lattice, spare, table.near)
    filtered = [slice_rows(column[:, None].contiguous(), table.corners, table.weights).cpu() for column in blurred.T]

    exact = all_pairs(_features(image_bgr, SIGMAS), values.cpu().double().numpy())
    difference = (filtered[0] / filtered[1]).numpy() - exact[:, 0] / exact[:, 1]
    assert np.abs(difference).mean() < 0.01
    assert np.abs(difference).max() < 0.06
    plain = PlainLattice(_features(image_bgr, SIGMAS)).filtered(values.cpu().double().numpy())
    gain = 1 / (1 + 2.0**-5)
    np.testing.assert_allclose(np.stack(filtered, axis=1) * gain, plain, rtol=1e-3)


def test_rows_are_cut_into_pieces_that_cover_them() -> None:
    """Short, long and exactly full rows: every entry lies in one piece, and pieces in their row."""
    counts = torch.tensor([1, PIECE, PIECE + 1, 3, 5 * PIECE + 7])
    starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])

    bounds, ends = pieces(starts)

    assert (bounds[:, 1] - bounds[:, 0]).tolist() == [1, PIECE, PIECE, 1, 3, *[PIECE] * 5, 7]
    assert torch.equal(bounds[1:, 0], bounds[:-1, 1])
    assert ends.tolist() == [[0, 1], [1, 2], [2, 4], [4, 5], [5, 11]]


def test_a_step_along_an_axis_moves_every_coordinate_of_a_key() -> None:
    """One up on each, d + 1 back on its own, and the last coordinate, which no key holds, makes up for the rest."""
    fields = Fields.of(lifting(SIGMAS), (99, 99, 255, 255, 255), "of the test")
    widths = [*np.diff(fields.shifts).tolist(), 63]
    offsets = np.array(fields.offsets)

    def packed(point: np.ndarray) -> int:
        return sum(int(value) << shift for value, shift in zip(point + offsets, fields.shifts, strict=True))

    def unpacked(key: int) -> list[int]:
        values = [(key >> shift) % (1 << width) for shift, width in zip(fields.shifts, widths, strict=True)]
        return (np.array(values) - offsets).tolist()

    point = np.array([5, -7, 11, 0, -1])
    for axis, step in enumerate(fields.steps):
        assert unpacked(packed(point) + step) == (point + 1 - 6 * (np.arange(5) == axis)).tolist()


def test_a_streaming_install_never_meets_torch_or_triton() -> None:
    """Importing the CRF and asking why there is no GPU imports neither."""
    asked = (
        "import sys; from engines.crf import unavailable_reason; unavailable_reason('cuda'); "
        "assert not {'torch', 'triton', 'numba'} & set(sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
