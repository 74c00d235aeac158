"""Each published layout, written small: what is read, what the numbers mean, what is refused."""

import json
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engines.data import IGNORE
from engines.data.datasets import DatasetOptions, Format, Source, open_dataset
from engines.data.formats.coco import run_lengths
from engines.data.known import CAMVID, CITYSCAPES, CITYSCAPES_LABEL_IDS, KNOWN, VOC
from engines.data.pairs import read_indices
from engines.errors import DataError
from tests.engines.toy import write_folder

PICTURE = np.full((6, 8, 3), 90, np.uint8)


def write_image(path: Path, image: NDArray[np.uint8] = PICTURE) -> None:
    """With the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image)


def write_palette_png(path: Path, indices: NDArray[np.uint8], depth: int = 8) -> None:
    """A palettised PNG with VOC's colours, as the VOC devkit stores masks."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = indices.shape
    bits = np.unpackbits(indices[..., None], axis=2)[..., 8 - depth :].reshape(height, width * depth)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    colours = b"".join(bytes(VOC.palette[i] if i < 21 else (224, 224, 192)) for i in range(2**depth))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0))
        + chunk(b"PLTE", colours)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palettised_mask_is_read_as_indices(tmp_path: Path, depth: int) -> None:
    """OpenCV alone would give colours, and guess at the classes from them."""
    indices = np.random.default_rng(depth).integers(0, 2**depth, (5, 9)).astype(np.uint8)
    write_palette_png(tmp_path / "mask.png", indices, depth)

    np.testing.assert_array_equal(read_indices(tmp_path / "mask.png"), indices)
    if depth == 8:
        seen = cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED)
        assert seen.ndim == 3


def test_a_mask_of_sixteen_bits_is_refused(tmp_path: Path) -> None:
    """Instance files look like label files until they are read as such."""
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros((4, 4), np.uint16))

    with pytest.raises(DataError, match="uint16"):
        read_indices(tmp_path / "mask.png")


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """Three pictures: two in `train`, one more in the augmented list."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    labels = np.full((6, 8), 15, np.uint8)
    labels[0] = IGNORE
    for name in ("2007_000001", "2007_000002", "2008_000003"):
        write_image(root / "JPEGImages" / f"{name}.jpg")
        write_palette_png(root / "SegmentationClassAug" / f"{name}.png", labels)
    for name in ("2007_000001", "2007_000002"):
        write_palette_png(root / "SegmentationClass" / f"{name}.png", labels)
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000001\n2007_000002\n")
    (lists / "train_aug.txt").write_text(
        "/JPEGImages/2007_000001.jpg /SegmentationClassAug/2007_000001.png\n"
        "/JPEGImages/2008_000003.jpg /SegmentationClassAug/2008_000003.png\n"
    )
    return tmp_path


def test_pascal_voc_is_read_by_its_lists(voc_root: Path) -> None:
    """From the folder above the devkit, too; the void band stays 255."""
    dataset = open_dataset(DatasetOptions(path=voc_root, format=Format.VOC, split="train"), 21)

    assert list(dataset.names) == ["2007_000001", "2007_000002"]
    assert dataset.classes == VOC.names
    assert set(np.unique(dataset[0].label_map)) == {15, IGNORE}


def test_the_augmented_voc_list_names_its_own_masks(voc_root: Path) -> None:
    """The lists that go round hold both paths, or the name alone; both mean SegmentationClassAug."""
    options = DatasetOptions(path=voc_root, format=Format.VOC, split="train_aug")
    with_paths = open_dataset(options, 21)
    (voc_root / "VOCdevkit" / "VOC2012" / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("2008_000003\n")

    with_names = open_dataset(options, 21)

    assert list(with_paths.names) == ["2007_000001", "2008_000003"]
    assert (with_names[0].label_map[1:] == 15).all()


def test_a_list_that_is_not_there_is_told_with_those_that_are(voc_root: Path) -> None:
    """A typing error is found without looking into the folder."""
    with pytest.raises(DataError, match=r"no list vla\.txt; there are: train, train_aug"):
        open_dataset(DatasetOptions(path=voc_root, format=Format.VOC, split="vla"), 21)


def test_cityscapes_label_ids_become_train_ids(tmp_path: Path) -> None:
    """7 is road is 0, 33 is bicycle is 18, and what is not trained on is ignored."""
    labels = np.full((6, 8), 4, np.uint8)  # static
    labels[0], labels[1] = 7, 33
    write_image(tmp_path / "leftImg8bit/val/ulm/ulm_000000_000019_leftImg8bit.png")
    write_image(tmp_path / "gtFine/val/ulm/ulm_000000_000019_gtFine_labelIds.png", labels)

    dataset = open_dataset(DatasetOptions(path=tmp_path, format=Format.CITYSCAPES, split="val"), 19)

    label_map = dataset[0].label_map
    assert list(dataset.names) == ["ulm_000000_000019"]
    assert (label_map[0] == 0).all()
    assert (label_map[1] == 18).all()
    assert (label_map[2:] == IGNORE).all()


@pytest.mark.parametrize("folders", [("val/images", "val/labels"), ("val", "valannot")])
def test_camvid_void_is_ignored(tmp_path: Path, folders: tuple[str, str]) -> None:
    """Both arrangements are read; 11 becomes 255."""
    labels = np.full((6, 8), 3, np.uint8)
    labels[0] = 11
    write_image(tmp_path / folders[0] / "a.png")
    write_image(tmp_path / folders[1] / "a.png", labels)

    pair = open_dataset(DatasetOptions(path=tmp_path, format=Format.CAMVID, split="val"), 11)[0]

    assert (pair.label_map[0] == IGNORE).all()
    assert (pair.label_map[1:] == 3).all()


def test_half_a_pair_of_any_format_is_refused(tmp_path: Path) -> None:
    """At the door, with a name."""
    write_image(tmp_path / "train" / "images" / "a.png")
    (tmp_path / "train" / "labels").mkdir()

    with pytest.raises(DataError, match=r"1 images have no mask, the first is a\.png"):
        open_dataset(DatasetOptions(path=tmp_path, format=Format.CAMVID), 11)


def _coco(root: Path, annotations: list[dict[str, object]]) -> DatasetOptions:
    write_image(root / "val2017" / "000000000009.jpg", np.full((6, 8, 3), 90, np.uint8))
    stored = {
        "images": [{"id": 9, "file_name": "000000000009.jpg", "height": 6, "width": 8}],
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
        "annotations": annotations,
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(stored))
    return DatasetOptions(path=root, format=Format.COCO, split="val2017")


def test_coco_polygons_and_crowds_become_labels(tmp_path: Path) -> None:
    """A person's polygon is 1, a crowd 255, another category background; the person wins over the crowd."""
    square = [2.0, 1.0, 6.0, 1.0, 6.0, 4.0, 2.0, 4.0]
    crowd = {"size": [6, 8], "counts": [0, 24, 24]}  # the left half, down the columns
    options = _coco(
        tmp_path,
        [
            {"image_id": 9, "category_id": 1, "iscrowd": 0, "segmentation": [square]},
            {"image_id": 9, "category_id": 1, "iscrowd": 1, "segmentation": crowd},
            {"image_id": 9, "category_id": 3, "iscrowd": 0, "segmentation": [[0.0, 4.0, 8.0, 4.0, 8.0, 6.0, 0.0, 6.0]]},
        ],
    )

    label_map = open_dataset(options, 2)[0].label_map

    assert (label_map[1:4, 2:6] == 1).all()
    assert (label_map[4:, :4] == IGNORE).all()
    assert (label_map[:, 6:] == 0).all()
    both = options.model_copy(update={"categories": ("car", "person")})
    assert (open_dataset(both, 3)[0].label_map[4:, 4:] == 1).all()


def test_an_unknown_coco_category_is_told_with_the_known_ones(tmp_path: Path) -> None:
    """`people` is no category of COCO."""
    options = _coco(tmp_path, []).model_copy(update={"categories": ("people",)})

    with pytest.raises(DataError, match="no category 'people'; there are: car, person"):
        open_dataset(options, 2)


def _packed(lengths: list[int]) -> str:
    """COCO's string of run lengths, written from its description: six bits a character, differences of two before."""
    text = ""
    for index, length in enumerate(lengths):
        value, has_more = length - (lengths[index - 2] if index > 2 else 0), True
        while has_more:
            bits, value = value & 0x1F, value >> 5
            has_more = value != (-1 if bits & 0x10 else 0)
            text += chr((bits | (0x20 if has_more else 0)) + 48)
    return text


def test_packed_run_lengths_are_the_mask_they_came_from() -> None:
    """Long runs take several characters, falling ones are negative differences."""
    mask = np.zeros((40, 50), bool)
    mask[3:30, 5:20] = True
    mask[10, 25:40] = True
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat])))
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()

    np.testing.assert_array_equal(run_lengths(_packed(lengths), 40, 50), mask)
    np.testing.assert_array_equal(run_lengths(lengths, 40, 50), mask)
    with pytest.raises(ValueError, match="sum to"):
        run_lengths([3, 4], 40, 50)


def test_a_string_that_is_known_from_coco() -> None:
    """Lengths and string as pycocotools' own test has them (ppwwyyxx/cocoapi, test_coco.py)."""
    lengths = [6, 1, 40, 4, 5, 4, 5, 4, 21]

    assert _packed(lengths) == "61X13mN000`0"
    mask = run_lengths("61X13mN000`0", 9, 10)

    assert mask.sum() == 13


def test_generated_shapes_are_the_same_for_the_same_index() -> None:
    """Whoever asks, in any order; training and validation pictures differ."""
    options = Source(format=Format.SHAPES, n_pictures=30)
    dataset = open_dataset(options, 5)

    again = open_dataset(options, 5)[7]
    np.testing.assert_array_equal(dataset[7].image_bgr, again.image_bgr)
    np.testing.assert_array_equal(dataset[7].label_map, again.label_map)
    other = open_dataset(options.model_copy(update={"split": "val"}), 5)[7]
    assert not np.array_equal(other.label_map, again.label_map)
    values = np.unique(np.stack([pair.label_map for pair in dataset]))
    np.testing.assert_array_equal(values, np.arange(5))


def test_pictures_without_labels_are_ignored_everywhere(tmp_path: Path) -> None:
    """Frames for distillation carry no label, not background."""
    write_folder(tmp_path, 3)

    dataset = open_dataset(DatasetOptions(path=tmp_path, format=Format.FRAMES, every=2), 2)

    assert list(dataset.names) == ["toy_00", "toy_02"]
    assert (dataset[1].label_map == IGNORE).all()


def test_a_format_with_other_classes_is_refused(tmp_path: Path, voc_root: Path) -> None:
    """21 classes cannot be trained as 2."""
    with pytest.raises(DataError, match=r"voc has 21 classes .* but 2 are asked for"):
        open_dataset(DatasetOptions(path=voc_root, format=Format.VOC), 2)


def test_the_table_of_known_classes_is_consistent() -> None:
    """As many colours as names, none twice."""
    for known in KNOWN.values():
        assert len(known.names) == len(set(known.names)) == len(known.palette)
    assert (len(VOC.names), len(CITYSCAPES.names), len(CAMVID.names)) == (21, 19, 11)
    assert len(CITYSCAPES_LABEL_IDS) == 19
    assert VOC.palette[15] == (192, 128, 128)  # person, as in the devkit


def test_real_camvid_is_read_as_its_table_says(shared_data: Path) -> None:
    """Void is 1.70 % of the validation pixels."""
    options = DatasetOptions(path=shared_data / "camvid", format=Format.CAMVID, split="val", every=4)

    dataset = open_dataset(options, 11)

    void = np.mean([(pair.label_map == IGNORE).mean() for pair in dataset])
    assert 0.012 < void < 0.022  # of every fourth frame


def test_a_format_with_the_same_classes_in_another_order_is_refused() -> None:
    """Labels are numbers: a training would learn circles under the name of squares."""
    options = DatasetOptions(format=Format.SHAPES, n_pictures=1)

    with pytest.raises(DataError, match="in the same order"):
        open_dataset(options, ("background", "square", "circle"))

    assert len(open_dataset(options, ("Background", "circle", "SQUARE"))) == 1


@pytest.mark.parametrize("outline", [{"counts": [1, 2]}, [[0, 0, 3]], {}])
def test_a_broken_coco_outline_names_its_picture(tmp_path: Path, outline: object) -> None:
    """One line with the picture's name instead of numpy's words."""
    (tmp_path / "val").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "one.png"), np.zeros((4, 4, 3), np.uint8))
    stored = {
        "images": [{"id": 1, "file_name": "one.png", "height": 4, "width": 4}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": outline}],
        "categories": [{"id": 1, "name": "person"}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(stored))

    with pytest.raises(DataError, match=r"one\.png: an outline that cannot be read"):
        open_dataset(DatasetOptions(path=tmp_path, format=Format.COCO, split="val"), 2)[0]
