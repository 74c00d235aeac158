"""What is refused before the first step: an earlier training in OUT, a folder that cannot be written, no pictures."""

from pathlib import Path

import pytest

from configs import ConfigError
from engines.errors import DataError, TrainingError

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("held", ["last.pt", "best.pt"])
def test_a_new_training_does_not_replace_an_earlier_one(tmp_path: Path, held: str) -> None:
    """The same command typed twice destroyed the checkpoints of the first; now it says how to go on."""
    from engines.training.ready import check_out

    (tmp_path / held).write_bytes(b"weeks of work")

    with pytest.raises(ConfigError, match=rf"{held}.*--resume"):
        check_out(tmp_path, resume=False)

    check_out(tmp_path, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == [held]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A file stands where OUT's parent should be; the reason is told, before any step."""
    from engines.training.ready import check_out

    (tmp_path / "file").touch()

    with pytest.raises(TrainingError, match=r"cannot be written.*another --out"):
        check_out(tmp_path / "file" / "out", resume=False)


def test_an_export_without_its_pictures_is_refused(tmp_path: Path) -> None:
    """int8's calibration was looked for after the last step; a typing error cost the export."""
    from engines.training.ready import check_export
    from tests.engines.training.small import small_config

    calibration = tmp_path / "nowhere"
    export = f"export={{sizes: [64x64], precisions: [int8], calibration: {calibration}}}"
    config = small_config(tmp_path, export)

    with pytest.raises(DataError, match="nowhere: no such folder"):
        check_export(config)


def test_an_export_with_its_pictures_is_not_refused(tmp_path: Path) -> None:
    """The folder of a data set will do, as for `export --calib`."""
    from engines.training.ready import check_export
    from tests.engines.training.small import small_config

    export = f"export={{sizes: [64x64], precisions: [int8], calibration: {tmp_path / 'data'}}}"

    check_export(small_config(tmp_path, export))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("name=a/b", "name: .*letters, digits"),
        ("name=''", "name: .*letters, digits"),
        ("name='two words'", "name: .*letters, digits"),
        ("classes=[thing, thing]", "class 'thing' is named twice"),
    ],
)
def test_names_that_would_fail_at_the_export_are_refused(tmp_path: Path, override: str, told: str) -> None:
    """An engine's name is that of its files; two classes of one name shared one line of every table."""
    from tests.engines.training.small import small_config

    with pytest.raises(ConfigError, match=told):
        small_config(tmp_path, override, "subject=null")
