"""`check-data`: every fault of a broken data set, and the shares of a sound one."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from engines.commands.data import check_data
from engines.data import IGNORE
from engines.data.check import check
from engines.data.datasets import DatasetOptions, Format
from engines.errors import DataError
from tests.engines.toy import write_folder


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """Eight pictures, seven of them with a fault of their own, and a mask that belongs to nothing."""
    root = write_folder(tmp_path / "broken", 8)
    masks = root / "masks"
    (masks / "toy_01.png").unlink()
    cv2.imwrite(str(masks / "toy_02.png"), np.zeros((32, 64), np.uint8))
    cv2.imwrite(str(masks / "toy_03.png"), np.full((64, 64), 7, np.uint8))
    cv2.imwrite(str(masks / "toy_04.png"), np.zeros((64, 64, 3), np.uint8))
    (root / "images" / "toy_05.png").write_bytes(b"\x89PNG torn off")
    cv2.imwrite(str(masks / "toy_06.png"), np.zeros((64, 64), np.uint8))
    cv2.imwrite(str(masks / "toy_07.png"), np.full((64, 64), IGNORE, np.uint8))
    cv2.imwrite(str(masks / "lonely.png"), np.zeros((64, 64), np.uint8))
    (root / "images" / "toy_00.jpg").write_bytes((root / "images" / "toy_00.png").read_bytes())
    return root


def test_every_fault_is_found_not_only_the_first(broken: Path) -> None:
    """One look tells everything that has to be mended, each with its file."""
    report = check(DatasetOptions(path=broken), ("background", "square"))

    assert not report.is_fit
    found = {kind: " | ".join(told) for kind, told in report.faults.items()}
    assert "toy_01.png" in found["images without a mask"]
    assert "lonely.png" in found["masks without an image"]
    assert "toy_02: mask 64x32, image 64x64" in found["sizes that differ"]
    assert "value 7: in 1 masks, 4096 pixels; the first is toy_03" in found["values that are no class"]
    assert "toy_04.png" in found["unreadable"]
    assert "toy_05.png" in found["unreadable"]
    assert "toy_00" in found["one name twice"]
    assert report.remarks["class 0 alone"] == ["toy_02", "toy_06"]
    assert report.remarks["all pixels ignored (255)"] == ["toy_07"]


def test_a_sound_set_gives_the_shares_of_its_classes(tmp_path: Path) -> None:
    """Shares of pixels sum to one; a class that never occurs is remarked on."""
    report = check(DatasetOptions(path=write_folder(tmp_path, 4)), ("background", "square", "moon"))

    assert report.is_fit
    assert sum(of_pixels for _, _, of_pixels, _ in report.shares()) == pytest.approx(1)
    assert report.remarks == {"never occurs": ["moon"]}
    assert report.sizes == {(64, 64): 4}


def test_classes_that_nobody_named_are_counted(tmp_path: Path) -> None:
    """The highest value tells how many there are."""
    assert len(check(DatasetOptions(path=write_folder(tmp_path, 3))).classes) == 2


def test_a_mask_of_0_and_255_is_a_fault(tmp_path: Path) -> None:
    """It is right for a viewer and teaches nothing, because 255 is ignored."""
    root = write_folder(tmp_path, 2)
    for path in (root / "masks").iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) * 255)

    report = check(DatasetOptions(path=root), ("background", "square"))

    assert "write the class's index (1) instead of 255" in report.faults["nothing to learn"][0]


def test_a_prefix_looks_at_its_part_alone(broken: Path) -> None:
    """Another part's lonely masks are not its fault."""
    report = check(DatasetOptions(path=broken, prefix="toy_06"), ("background", "square"))

    assert report.is_fit
    assert report.n_pictures == 1


def test_the_command_fails_on_a_fault_and_writes_all_of_them(broken: Path, tmp_path: Path) -> None:
    """The exit code is for scripts, the JSON for whoever mends a thousand files."""
    path = tmp_path / "found.json"

    result = CliRunner().invoke(check_data, [str(broken), "--classes", "background,square", "--json", str(path)])

    assert isinstance(result.exception, DataError)
    assert "faults in 9 pictures" in str(result.exception)
    assert "FAULT: sizes that differ (1)" in result.output
    stored = json.loads(path.read_text())
    assert stored["is_fit"] is False
    assert len(stored["faults"]["unreadable"]) == 2


def test_the_command_prints_a_table_of_a_sound_set(tmp_path: Path) -> None:
    """Names where they are given."""
    root = write_folder(tmp_path, 3)

    result = CliRunner().invoke(check_data, [str(root), "--classes", "background,square"], catch_exceptions=False)

    assert result.exit_code == 0
    assert "fit to train on" in result.output
    assert "background" in result.output


def test_generated_pictures_pass(tmp_path: Path) -> None:
    """A data set without files is looked at as well."""
    report = check(DatasetOptions(format=Format.SHAPES, n_pictures=12))

    assert report.is_fit
    assert report.classes[1] == "circle"


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_file_whose_end_is_missing_is_found(tmp_path: Path, suffix: str) -> None:
    """OpenCV reads the upper half and fills the rest, without a word to the program."""
    root = write_folder(tmp_path, 1)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (root / "images" / "toy_00.png").unlink()
    path = root / "images" / f"toy_00{suffix}"
    cv2.imwrite(str(path), image)
    assert check(DatasetOptions(path=root)).is_fit

    path.write_bytes(path.read_bytes()[:-2000])

    report = check(DatasetOptions(path=root))
    assert path.name in next(iter(report.faults.get("torn files") or report.faults["unreadable"]))
